"""No chunk reaches a robot that its contract does not allow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import ARM
from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import compose, differences, relative
from volano.embodiment.shipped import CAR, GLIDER, SAWYER, SCOUT, SHIPPED
from volano.errors import Code, WireError
from volano.inference.guard import (
    action_distance,
    check_chunk,
    check_seam,
    clamped_share,
    fallback_chunk,
    fallback_rows,
    is_stale,
    rest,
    tick_limits,
)

RANDOM = np.random.default_rng(0)


def chunk_of(value: float, dtype: str = "f4") -> np.ndarray[Any, Any]:
    return np.full((SCOUT.horizon, len(SCOUT.action)), value, dtype)


@pytest.mark.parametrize(
    "chunk",
    [
        None,
        [[0.0, 0.0]] * SCOUT.horizon,
        chunk_of(0)[:-1],
        chunk_of(0)[:, :1],
        chunk_of(0)[None],
        chunk_of(0).astype(np.int32),
        chunk_of(float("nan")),
        chunk_of(float("inf")),
    ],
)
def test_what_is_not_a_chunk_is_refused(chunk: object) -> None:
    with pytest.raises(WireError) as caught:
        check_chunk(SCOUT, chunk)
    assert caught.value.code is Code.WIRE_ACTION


def test_a_refusal_names_the_channel() -> None:
    chunk = chunk_of(0)
    chunk[3, 1] = np.nan
    with pytest.raises(WireError, match="'yaw_rate' of row 3"):
        check_chunk(SCOUT, chunk)


def test_actions_are_clipped_and_others_untouched() -> None:
    inside = RANDOM.uniform(-0.9, 0.9, (SCOUT.horizon, 2)).astype(np.float32)
    assert check_chunk(SCOUT, inside).tobytes() == inside.tobytes()
    np.testing.assert_array_equal(check_chunk(SCOUT, chunk_of(99, "f8")), [[1.0, 2.0]] * SCOUT.horizon)
    np.testing.assert_array_equal(check_chunk(SCOUT, chunk_of(-99)), [[-1.0, -2.0]] * SCOUT.horizon)


def test_anchored_poses_are_limited_tick_by_tick() -> None:
    fast = compose(np.tile([3.0, 1.0, 0.1], (CAR.horizon, 1))).astype(np.float32)
    assert fast[-1, 0] > CAR.action[0].high, "a pose may lie beyond the limit of one tick"
    assert check_chunk(CAR, fast).tobytes() == fast.tobytes()
    too_fast = compose(np.tile([9.0, 1.0, 0.1], (CAR.horizon, 1)))
    poses = check_chunk(CAR, too_fast).astype(np.float64)
    before = np.vstack([np.zeros((1, 3)), poses[:-1]])
    motions = np.array([relative(start, end) for start, end in zip(before, poses, strict=True)])
    np.testing.assert_allclose(motions, np.tile([4.0, 1.0, 0.1], (CAR.horizon, 1)), atol=1e-3)


@pytest.mark.parametrize("tag", SHIPPED)
def test_the_fallback_passes_the_guard(tag: str) -> None:
    fallback = fallback_chunk(SHIPPED[tag])
    assert check_chunk(SHIPPED[tag], fallback).tobytes() == fallback.tobytes()


def test_the_fallback_is_the_contracts() -> None:
    gripping = replace(SAWYER, hold=(0.0, 0.0, 0.0, 1.0))
    np.testing.assert_array_equal(fallback_chunk(gripping), [[0, 0, 0, 1]] * SAWYER.horizon)


def test_staleness() -> None:
    assert not is_stale(10.0, 10.2, 0.25)
    assert is_stale(10.0, 10.3, 0.25)
    assert is_stale(10.0, 9.9, 0.25), "a clock that went back proves nothing fresh"


def test_what_was_clipped_stands_at_a_limit() -> None:
    assert clamped_share(SCOUT, check_chunk(SCOUT, chunk_of(-99))) == 1.0
    assert clamped_share(SCOUT, check_chunk(SCOUT, chunk_of(0))) == 0.0
    one = check_chunk(SCOUT, np.where(np.arange(2) == 0, 99.0, 0.0) * np.ones((SCOUT.horizon, 1)))
    one[SCOUT.execute :] = 99.0
    assert clamped_share(SCOUT, one) == 0.5
    fast = check_chunk(CAR, compose(np.tile([9.0, 0.5, 0.01], (CAR.horizon, 1))))
    assert clamped_share(CAR, fast) == pytest.approx(1 / 3)


def test_distance_is_in_shares_of_the_range_over_what_is_executed() -> None:
    low, high = check_chunk(SCOUT, chunk_of(-99)), check_chunk(SCOUT, chunk_of(99))
    assert action_distance(SCOUT, low, high) == 1.0
    assert action_distance(SCOUT, low, low) == 0.0
    late = low.copy()
    late[SCOUT.execute :] = high[SCOUT.execute :]
    assert action_distance(SCOUT, low, late) == 0.0


def test_a_tick_changes_a_channel_by_its_range_in_half_a_second() -> None:
    np.testing.assert_allclose(tick_limits(SAWYER), 2.0 / (20 * 0.5))
    np.testing.assert_allclose(tick_limits(SCOUT), np.array([2.0, 4.0]) / (5 * 0.5))
    np.testing.assert_allclose(tick_limits(replace(SCOUT, rate_hz=1.0)), [2.0, 4.0])


def rows(*speeds: float) -> np.ndarray[Any, Any]:
    return np.array([(speed, 0.0, 0.0, 0.0) for speed in speeds], np.float32)


@pytest.mark.parametrize(
    ("executed", "ahead", "refused"),
    [
        ((), (1.0, 1.0), ""),
        ((0.0,), (), ""),
        ((0.0, 0.0), (0.19, 0.19), ""),
        ((0.0, 0.0), (0.21, 0.21), "jumps by 0.21"),
        ((0.0, 0.0), (0.5, 0.5), "jumps by 0.5"),
        ((0.0, 0.15, 0.3), (0.15, 0.0), "jerks by 0.3"),
        ((0.0, 0.15, 0.3), (0.45, 0.6), ""),
        ((0.9, -0.9, 0.9), (-0.9, 0.9, -0.9), ""),
        ((0.0, 0.4, 0.8), (0.0, -0.8, -0.4), ""),
        ((0.0, 0.4, 0.8), (-0.8, -0.8, -0.8), "jumps by 1.6"),
    ],
)
def test_a_chunk_that_does_not_go_on_is_refused_unless_its_policy_always_moves_so(
    executed: tuple[float, ...], ahead: tuple[float, ...], refused: str
) -> None:
    sides = (np.zeros((0, 4), np.float32) if not side else rows(*side) for side in (executed, ahead))
    if not refused:
        check_seam(SAWYER, *sides)
        return
    with pytest.raises(WireError, match=f"'delta_x' {refused}") as caught:
        check_seam(SAWYER, *sides)
    assert caught.value.code is Code.WIRE_ACTION


def test_how_a_channel_comes_to_rest_follows_from_what_it_is() -> None:
    assert rest(SAWYER) == ("hold",) * 4
    assert rest(SCOUT) == ("decelerate",) * 2
    assert rest(GLIDER) == ("decelerate",) * 3
    assert rest(CAR) == ("decelerate",) * 3
    assert rest(ARM) == ("last_safe",) * 4


@pytest.mark.parametrize("robot", [*SHIPPED.values(), ARM], ids=lambda robot: robot.tag)
def test_coming_to_rest_stays_within_the_limits_and_ends_still(robot: Embodiment) -> None:
    last = np.array([channel.high for channel in robot.action], np.float32)
    found = fallback_rows(robot, last)
    np.testing.assert_allclose(check_chunk(robot, found), found, atol=1e-4)
    steps = differences(found) if robot.action_frame == "anchored_se2" else found
    np.testing.assert_allclose(steps[-1], last if robot is ARM else robot.hold, atol=1e-5)
    moved = np.abs(np.diff(np.vstack((last, steps)), axis=0))
    braked = np.array(rest(robot)) == "decelerate"
    assert (moved <= tick_limits(robot) + 1e-5)[:, braked].all()
    np.testing.assert_array_equal(fallback_rows(robot, None), fallback_chunk(robot))


def test_a_fast_robot_brakes_over_several_ticks() -> None:
    assert [round(float(row[0]), 3) for row in fallback_rows(SCOUT, np.array([1.0, 0.0], np.float32))[:3]] == [
        0.2,
        0.0,
        0.0,
    ]
