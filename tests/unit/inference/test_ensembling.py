"""Chunks that overlap are averaged by the exponential weights of ACT: what holds for any network and any chunks."""

import math
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from volano.embodiment.prefix import to_chunk
from volano.embodiment.shipped import CAR, SCOUT
from volano.inference.chunking import ChunkQueue, Joining
from volano.inference.guard import is_stale

JOININGS: tuple[Joining, ...] = ("latest_only", "weighted_average", "temporal_ensemble")
_TICKS = 16
delays = st.lists(st.integers(0, SCOUT.horizon - 1), min_size=_TICKS, max_size=_TICKS)
joinings = st.sampled_from(JOININGS)
Taken = tuple[float, float, float]
"""Time, value, and when the oldest observation was made that has a part in it."""


def taken(late: list[int], joining: Joining, value: Callable[[int], float], oldest_s: float = 10.0) -> list[Taken]:
    """What is executed where chunk `number` says `value(number)` in each row, and takes `late[number]` ticks; asked as
    often as may be."""
    plan: ChunkQueue[int] = ChunkQueue(robot=SCOUT, joining=joining, oldest_s=oldest_s)
    found: list[Taken] = []
    number, waiting = 0, None
    for tick in range(_TICKS):
        now = tick / SCOUT.rate_hz
        if waiting is not None and tick >= waiting[1]:
            chunk = np.full((SCOUT.horizon, len(SCOUT.action)), value(number), np.float32)
            plan.arrive(waiting[0], chunk, number, tick)
            number, waiting = number + 1, None
        if waiting is None:
            waiting = plan.question(tick, now), tick + late[number]
        action = plan.take(now)
        if action is not None:
            found.append((now, float(action.rows[0, 0]), action.observed_at))
    return found


@settings(deadline=None, max_examples=25)
@given(delays, joinings, st.floats(-1, 1, width=32))
def test_constant_chunks_stay_constant(late: list[int], joining: Joining, value: float) -> None:
    found = [one for _, one, _ in taken(late, joining, lambda _: value)]
    np.testing.assert_allclose(found, value, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(delays, joinings, st.floats(0.1, 2.0))
def test_no_action_is_older_than_its_bound(late: list[int], joining: Joining, oldest_s: float) -> None:
    assert all(not is_stale(at, now, oldest_s) for now, _, at in taken(late, joining, lambda _: 0.0, oldest_s))


@settings(deadline=None, max_examples=25)
@given(delays, joinings)
def test_weights_are_at_least_zero_and_sum_to_one(late: list[int], joining: Joining) -> None:
    """The weight of a chunk is what is executed when it alone says one."""
    weights = weights_of(late, joining)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(delays)
def test_each_chunk_of_the_ensemble_weighs_less_than_the_older_ones_by_one_factor(late: list[int]) -> None:
    for column in weights_of(late, "temporal_ensemble").T:
        present = column[column > 1e-4]
        np.testing.assert_allclose(present[1:] / present[:-1], math.exp(-0.01), atol=1e-3)


def weights_of(late: list[int], joining: Joining) -> NDArray[np.float64]:
    """Of each chunk in each tick with an action, (chunks, ticks); the guard lets chunks differ by so little."""
    small = 0.1

    def run(chosen: int) -> list[float]:
        return [value for _, value, _ in taken(late, joining, lambda number: small * (number == chosen))]

    return np.array([run(chosen) for chosen in range(_TICKS + 1)]) / small


def test_a_path_is_averaged_motion_by_motion() -> None:
    plan: ChunkQueue[str] = ChunkQueue(robot=CAR, joining="temporal_ensemble", oldest_s=10.0)
    for forward in (1.0, 1.1):
        steps = np.tile(np.array([forward, 0.0, 0.1], np.float32), (CAR.horizon, 1))
        plan.arrive(plan.question(0, 0.0), to_chunk(CAR, steps), "", 0)
    action = plan.take(0.0)
    assert action is not None
    share = 1 / (1 + math.exp(-0.01))
    np.testing.assert_allclose(action.rows[0], [share + 1.1 * (1 - share), 0.0, 0.1], atol=1e-4)
