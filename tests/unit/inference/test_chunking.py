"""What an asynchronous robot executes: every row at its place, none too old, and from chunk to chunk without a jump."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.inference.toy import TOY, Driven, drive, toy_chunk
from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import Prefix, fits, longest_delay, to_chunk
from volano.embodiment.shipped import CAR, GLIDER, SCOUT
from volano.errors import Code, ServeError, WireError
from volano.inference.chunking import ChunkQueue, Delays, Joining
from volano.inference.guard import is_stale

COLD, LONGEST = 30, longest_delay(TOY)
BEARABLE = 1.2


def jittered(delay: int) -> Callable[[int], int]:
    """About `delay` ticks; the first answer takes much longer."""
    random = np.random.default_rng(delay)
    return lambda number: COLD if number == 0 else int(np.clip(delay + random.integers(-1, 2), 0, LONGEST))


@cache
def usual_step() -> float:
    """The largest step within chunks that go on from nothing."""
    chunks = (toy_chunk(5 * number, None, number) for number in range(40))
    return max(float(np.linalg.norm(np.diff(chunk, axis=0), axis=1).max()) for chunk in chunks)


def roughest(driven: Driven) -> float:
    return max(driven.seams) / usual_step()


@pytest.mark.parametrize("trained", [0, LONGEST], ids=["guided", "pinned"])
@pytest.mark.parametrize("delay", range(11))
def test_a_seam_is_no_rougher_than_a_chunk_at_any_delay(delay: int, trained: int) -> None:
    driven = drive(jittered(delay), ticks=300, answer=partial(toy_chunk, trained=trained))
    assert len(driven.seams) >= 15
    assert roughest(driven) <= BEARABLE
    assert driven.refused == []
    assert driven.held == list(range(COLD)), "after a cold start no tick is without an action"


@pytest.mark.parametrize("delay", [0, 2, 5, 10])
def test_without_the_prefix_the_same_chunks_jump_and_the_guard_sees_it(delay: int) -> None:
    driven = drive(jittered(delay), ticks=300, joining="latest_only")
    assert roughest(driven) > BEARABLE
    assert set(driven.refused) == {Code.WIRE_ACTION}
    assert len(driven.refused) > len(driven.seams) / 4


def test_a_cold_start_does_not_lengthen_what_is_expected() -> None:
    driven = drive(lambda number: COLD if number == 0 else 2, ticks=300)
    assert max(driven.delays) == (LONGEST + 1) // 2, "before enough is known"
    assert driven.delays[-1] == 2


def test_what_is_expected_is_the_longest_of_late() -> None:
    delays = Delays(longest=8)
    assert delays.estimate == 4
    for ticks in (6, 1, 1, 1, 1, 1, 1, 1):
        delays = delays.after(ticks, ticks)
    assert delays.estimate == 6
    assert delays.after(1, 1).estimate == 1
    assert delays.after(8, 3).estimate == 3, "it had actions for three ticks"
    with pytest.raises(ServeError) as caught:
        delays.after(9, 9)
    assert caught.value.code is Code.SERVE_DELAY


def queue(joining: Joining = "real_time", oldest_s: float = 10.0) -> ChunkQueue[str]:
    return ChunkQueue(robot=SCOUT, joining=joining, oldest_s=oldest_s)


def level(value: float) -> NDArray[np.float32]:
    return np.full((SCOUT.horizon, 2), value, np.float32)


def ramp(first: float) -> NDArray[np.float32]:
    """A row says its number."""
    return np.repeat(first + np.arange(SCOUT.horizon, dtype=np.float32)[:, None] / 100, 2, axis=1)


def speeds(plan: ChunkQueue[str], ticks: int, now: float = 0.0) -> list[float | None]:
    taken = [plan.take(now) for _ in range(ticks)]
    return [None if action is None else round(float(action.rows[0, 0]), 4) for action in taken]


@pytest.mark.parametrize(
    ("joining", "expected"),
    [
        ("latest_only", [0.0, 0.4, 0.2]),
        ("weighted_average", [0.0, 0.28, 0.3 * 0.28 + 0.7 * 0.2]),
        ("temporal_ensemble", [0.0, 0.4 * np.exp(-0.01) / (1 + np.exp(-0.01)), 0.199332]),
    ],
)
def test_chunks_that_overlap_are_joined_as_one_says(joining: Joining, expected: list[float]) -> None:
    plan = queue(joining)
    found: list[float | None] = []
    for value in (0.0, 0.4, 0.2):
        plan.arrive(plan.question(len(found), 0.0), level(value), "", len(found))
        found += speeds(plan, 1)
    np.testing.assert_allclose(np.array(found, float), expected, atol=1e-4)


def test_rows_that_were_executed_meanwhile_are_dropped() -> None:
    plan = queue("latest_only")
    plan.arrive(plan.question(0, 0.0), ramp(0.0), "first", 0)
    assert speeds(plan, 2) == [0.0, 0.01]
    asked = plan.question(2, 0.0)
    assert speeds(plan, 3) == [0.02, 0.03, 0.04]
    plan.arrive(asked, ramp(0.1), "second", 5)
    assert speeds(plan, 6) == [0.13, 0.14, 0.15, 0.16, 0.17, None]


def test_frozen_rows_stay_as_the_policy_was_told_when_it_answers_early() -> None:
    plan = queue()
    plan.arrive(plan.question(0, 0.0), ramp(0.0), "first", 0)
    assert speeds(plan, 4) == [0.0, 0.01, 0.02, 0.03]
    assert plan.is_due()
    asked = plan.question(4, 0.0)
    assert asked.prefix is not None
    assert (len(asked.prefix.actions), asked.prefix.delay) == (4, 2)
    np.testing.assert_allclose(asked.prefix.actions[:, 0], [0.04, 0.05, 0.06, 0.07])
    assert speeds(plan, 1) == [0.04]
    plan.arrive(asked, ramp(0.1), "second", 5)
    assert speeds(plan, 7) == [0.05, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17]


def test_a_frozen_row_that_gets_too_old_gives_way_to_the_answer() -> None:
    plan = queue(oldest_s=1.0)
    plan.arrive(plan.question(0, 0.0), ramp(0.0), "first", 0)
    assert speeds(plan, 4, now=0.9) == [0.0, 0.01, 0.02, 0.03]
    plan.arrive(plan.question(4, 0.9), ramp(0.04), "second", 4)
    assert speeds(plan, 1, now=0.95) == [0.04]
    action = plan.take(1.1)
    assert action is not None
    assert (action.source, action.observed_at) == ("second", 0.9)
    assert round(float(action.rows[0, 0]), 4) == 0.05


def test_a_robot_that_ran_out_goes_on_where_it_stopped() -> None:
    plan = queue("latest_only")
    plan.arrive(plan.question(0, 0.0), ramp(0.0), "first", 0)
    assert speeds(plan, 6)[-1] == 0.05
    asked = plan.question(6, 0.0)
    assert speeds(plan, 5) == [0.06, 0.07, None, None, None]
    plan.arrive(asked, ramp(0.2), "second", 11)
    assert speeds(plan, 1) == [0.22]


def test_an_answer_that_took_too_long_is_refused_and_the_plan_stays() -> None:
    plan = queue()
    plan.arrive(plan.question(0, 0.0), ramp(0.0), "first", 0)
    speeds(plan, 2)
    asked = plan.question(2, 0.0)
    speeds(plan, 5)
    with pytest.raises(ServeError) as caught:
        plan.arrive(asked, ramp(0.07), "second", 7)
    assert caught.value.code is Code.SERVE_DELAY
    assert speeds(plan, 2) == [0.07, None]
    cold = plan.question(9, 0.0)
    assert cold.prefix is None
    plan.arrive(cold, ramp(0.5), "third", 90)
    assert speeds(plan, 1) == [0.5]


def test_a_chunk_that_jumps_is_refused_and_the_plan_stays() -> None:
    plan = queue("latest_only")
    plan.arrive(plan.question(0, 0.0), level(-0.8), "first", 0)
    speeds(plan, 2)
    with pytest.raises(WireError) as caught:
        plan.arrive(plan.question(2, 0.0), level(0.8), "second", 2)
    assert caught.value.code is Code.WIRE_ACTION
    assert "'forward_speed' jumps by 1.6" in caught.value.cause
    assert speeds(plan, 1) == [-0.8]


def test_after_a_pause_nothing_has_to_go_on() -> None:
    plan = queue("latest_only")
    plan.arrive(plan.question(0, 0.0), level(-0.8), "first", 0)
    assert speeds(plan, SCOUT.horizon + 1)[-1] is None
    plan.arrive(plan.question(9, 0.0), level(0.8), "second", 9)
    assert speeds(plan, 1) == [0.8]


def test_a_path_is_handed_out_as_it_is_seen_from_the_robot() -> None:
    plan: ChunkQueue[str] = ChunkQueue(robot=CAR, joining="latest_only", oldest_s=10.0)
    steps = np.tile(np.array([1.0, 0.0, 0.3], np.float32), (CAR.horizon, 1))
    plan.arrive(plan.question(0, 0.0), to_chunk(CAR, steps), "", 0)
    for left in range(CAR.horizon, 0, -1):
        action = plan.take(0.0)
        assert action is not None
        np.testing.assert_allclose(action.rows, to_chunk(CAR, steps[:left]), atol=1e-5)


@pytest.mark.parametrize("joining", ["real_time", "latest_only", "weighted_average", "temporal_ensemble"])
@pytest.mark.parametrize("delay", range(0, 11, 2))
def test_no_action_is_older_than_its_bound_and_what_is_too_old_is_replaced_at_once(
    joining: Joining, delay: int
) -> None:
    """0 to 500 ms late at 20 Hz, with a bound of 300 ms."""
    driven = drive(lambda _: delay, joining=joining, ticks=120, oldest_s=0.3, answer=lambda *_: ramp_of_the_toy())
    assert len(driven.ages_s) + len(driven.held) == 120, "every tick has an action or the fallback"
    assert not any(is_stale(0.0, age, 0.3) for age in driven.ages_s)
    assert bool(driven.ages_s) is (delay <= 6)


def ramp_of_the_toy() -> NDArray[np.float32]:
    return np.zeros((TOY.horizon, 2), np.float32)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=20, max_size=20), st.sampled_from([SCOUT, GLIDER, CAR]), st.floats(0.2, 3))
def test_whatever_the_network_does_every_prefix_fits_and_no_action_is_too_old(
    late: list[int], robot: Embodiment, oldest_s: float
) -> None:
    asked: list[Prefix] = []

    def still(tick: int, prefix: Prefix | None, number: int) -> NDArray[np.float32]:
        del tick, number
        asked.extend([] if prefix is None else [prefix])
        return np.zeros((robot.horizon, len(robot.action)), np.float32)

    driven = drive(
        lambda number: late[number % len(late)],
        ticks=150,
        oldest_s=oldest_s,
        answer=still,
        robot=robot,
    )
    assert all(fits(robot, len(one.actions), one.delay) for one in asked)
    assert all(0 <= age <= oldest_s for age in driven.ages_s)
    assert set(driven.refused) <= {Code.SERVE_DELAY}
