"""The follower against the vehicle model that it claims to invert."""

import math

import numpy as np
import pytest

from volano.evaluate.simulators.pursuit import Motion, pursue, slip_towards

LENGTH_M = 5.0
RATE_HZ = 5.0


def drive(motion: Motion, steering_rad: float, acceleration_m_s2: float, seconds: float, steps: int = 200) -> Motion:
    """The kinematic bicycle of highway-env, with a fine step, seen from its centre."""
    x, y, heading, speed = motion.x_m, motion.y_m, motion.heading_rad, motion.speed_m_s
    slip = math.atan(math.tan(steering_rad) / 2)
    for _ in range(steps):
        x += speed * math.cos(heading + slip) * seconds / steps
        y += speed * math.sin(heading + slip) * seconds / steps
        heading += speed * math.sin(slip) / (LENGTH_M / 2) * seconds / steps
        speed += acceleration_m_s2 * seconds / steps
    return Motion(x_m=x, y_m=y, heading_rad=heading, speed_m_s=speed)


@pytest.mark.parametrize(("ahead_m", "left_m"), [(6.0, 0.0), (6.0, 2.0), (5.0, -3.0), (8.0, 5.0)])
def test_the_circle_of_the_slip_meets_the_point(ahead_m: float, left_m: float) -> None:
    steering = math.atan(2 * math.tan(slip_towards(ahead_m, left_m, LENGTH_M)))
    motion = Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=1.0)
    nearest = math.inf
    for _ in range(400):
        motion = drive(motion, steering, 0.0, 0.03, steps=3)
        nearest = min(nearest, math.hypot(motion.x_m - ahead_m, motion.y_m - left_m))
    assert nearest < 0.05


def test_slip_is_bounded_beside_and_behind() -> None:
    assert abs(slip_towards(0.0, 1.0, LENGTH_M)) < math.pi / 4
    assert slip_towards(-2.0, -1.0, LENGTH_M) < 0


def circle(radius_m: float, speed_m_s: float) -> np.ndarray:
    """Poses one tick apart on a circle to the left that starts at the origin along x, shape (60, 3)."""
    angles = speed_m_s / RATE_HZ / radius_m * np.arange(1, 61)
    return np.stack((radius_m * np.sin(angles), radius_m * (1 - np.cos(angles)), angles), axis=1)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("radius_m", [8.0, 12.0])
def test_following_a_circle_stays_on_it(radius_m: float, side: int) -> None:
    path = circle(radius_m, 6.0) * (1, side, side)
    motion = Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=6.0)
    worst = 0.0
    for tick in range(40):
        command = pursue(motion, path[tick : tick + 8], rate_hz=RATE_HZ, length_m=LENGTH_M)
        motion = drive(motion, command.steering_rad, command.acceleration_m_s2, 1 / RATE_HZ)
        worst = max(worst, abs(math.hypot(motion.x_m, motion.y_m - side * radius_m) - radius_m))
    assert worst < 0.6
    assert motion.speed_m_s == pytest.approx(6.0, abs=0.3)


@pytest.mark.parametrize(("spacing_m", "sign"), [(3.0, 1), (1.2, 0), (0.2, -1), (0.0, -1)])
def test_speed_follows_the_spacing(spacing_m: float, sign: int) -> None:
    path = np.stack((spacing_m * np.arange(1, 9), np.zeros(8), np.zeros(8)), axis=1)
    command = pursue(Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=6.0), path, rate_hz=RATE_HZ, length_m=LENGTH_M)
    assert np.sign(round(command.acceleration_m_s2, 6)) == sign
    assert command.steering_rad == 0


def test_no_prediction_makes_the_car_faster_than_its_governor() -> None:
    path = np.stack((20.0 * np.arange(1, 9), np.zeros(8), np.zeros(8)), axis=1)
    command = pursue(Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=15.0), path, rate_hz=RATE_HZ, length_m=LENGTH_M)
    assert command.acceleration_m_s2 == 0


def test_the_frame_does_not_matter() -> None:
    path = circle(10.0, 6.0)[:8]
    here = pursue(Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=6.0), path, rate_hz=RATE_HZ, length_m=LENGTH_M)
    turned = np.stack((3 - path[:, 1], 7 + path[:, 0], path[:, 2] + math.pi / 2), axis=1)
    motion = Motion(x_m=3, y_m=7, heading_rad=math.pi / 2, speed_m_s=6.0)
    there = pursue(motion, turned, rate_hz=RATE_HZ, length_m=LENGTH_M)
    assert there.steering_rad == pytest.approx(here.steering_rad)
    assert there.steering_rad > 0


def test_a_waypoint_behind_does_not_turn_the_car() -> None:
    path = np.tile(np.array([[-4.0, 0.5, 0.0]]), (8, 1))
    command = pursue(Motion(x_m=0, y_m=0, heading_rad=0, speed_m_s=6.0), path, rate_hz=RATE_HZ, length_m=LENGTH_M)
    assert command.steering_rad == 0
    assert command.acceleration_m_s2 == -6
