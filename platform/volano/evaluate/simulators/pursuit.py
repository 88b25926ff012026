"""Pure pursuit for a kinematic bicycle: from where a car is and where it should be next, to steering and throttle.

Pure geometry in metres, radians and seconds; x ahead, y to the left, angles anti-clockwise; knows no simulator.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.frames import wrap

_MAX_STEERING_RAD = math.pi / 3
_MAX_SLIP_RAD = math.atan(math.tan(_MAX_STEERING_RAD) / 2)
_SPEED_TIME_S = 0.4
_BRAKE_M_S2, _THROTTLE_M_S2 = -6.0, 5.0
_MAX_SPEED_M_S = 15.0
"""The driver's governor: no prediction makes the car faster."""
_LOOKAHEAD_M, _LOOKAHEAD_S = 3.0, 0.6


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Where a car's centre is, where it points, how fast it goes."""

    x_m: float
    y_m: float
    heading_rad: float
    speed_m_s: float


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a car executes."""

    steering_rad: float
    """Of the front wheels, positive to the left."""
    acceleration_m_s2: float


def slip_towards(ahead_m: float, left_m: float, length_m: float) -> float:
    """The slip angle (rad) whose circle leads the centre of a car of that length through a point in its body frame.

    The centre moves along heading + slip with curvature sin(slip) / (length / 2), and a circle through a point at
    distance d, at an angle a from its tangent, has curvature 2 sin(a) / d. With a = bearing - slip:
    tan(slip) = length left / (d^2 + length ahead).
    """
    slip = math.atan2(length_m * left_m, ahead_m**2 + left_m**2 + length_m * ahead_m)
    return min(max(slip, -_MAX_SLIP_RAD), _MAX_SLIP_RAD)


def pursue(motion: Motion, waypoints: NDArray[np.float64], *, rate_hz: float, length_m: float) -> Command:
    """Drive towards the waypoints still ahead, shape (n >= 1, 3), in the frame of `motion`, one tick apart.

    The speed follows the spacing of the waypoints; tan(steering) = 2 tan(slip) turns the wheels.
    """
    offsets = waypoints[:, :2] - (motion.x_m, motion.y_m)
    distances = np.hypot(offsets[:, 0], offsets[:, 1])
    spacing = distances[0] if len(waypoints) < 2 else np.hypot(*(waypoints[1, :2] - waypoints[0, :2]))
    wanted_m_s = min(float(spacing) * rate_hz, _MAX_SPEED_M_S)
    acceleration = min(max((wanted_m_s - motion.speed_m_s) / _SPEED_TIME_S, _BRAKE_M_S2), _THROTTLE_M_S2)
    far = np.flatnonzero(distances >= max(_LOOKAHEAD_M, _LOOKAHEAD_S * motion.speed_m_s))
    aim = int(far[0]) if len(far) else len(waypoints) - 1
    bearing = wrap(math.atan2(offsets[aim, 1], offsets[aim, 0]) - motion.heading_rad)
    if distances[aim] < 0.5 or abs(bearing) > math.pi / 2:  # there already, or past it: keep straight
        return Command(steering_rad=0.0, acceleration_m_s2=acceleration)
    ahead, left = distances[aim] * math.cos(bearing), distances[aim] * math.sin(bearing)
    slip = slip_towards(float(ahead), float(left), length_m)
    return Command(steering_rad=math.atan(2 * math.tan(slip)), acceleration_m_s2=acceleration)
