"""No chunk reaches a robot that its contract does not allow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from volano.embodiment.frames import compose, relative
from volano.embodiment.shipped import CAR, SAWYER, SCOUT, SHIPPED
from volano.errors import Code, WireError
from volano.inference.guard import action_distance, check_chunk, fallback_chunk, is_stale

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


def test_distance_is_in_shares_of_the_range_over_what_is_executed() -> None:
    low, high = check_chunk(SCOUT, chunk_of(-99)), check_chunk(SCOUT, chunk_of(99))
    assert action_distance(SCOUT, low, high) == 1.0
    assert action_distance(SCOUT, low, low) == 0.0
    late = low.copy()
    late[SCOUT.execute :] = high[SCOUT.execute :]
    assert action_distance(SCOUT, low, late) == 0.0
