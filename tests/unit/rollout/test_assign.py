"""Exposure is monotone, blocks are balanced, pins win, and everything is a function of its arguments."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CANDIDATE, CURRENT, OTHER, TESTING, plan
from volano.errors import RolloutError
from volano.rollout.assign import assign, planned_arm
from volano.rollout.exposure import EXPOSED, exclusion, place, robot_key, seeds
from volano.rollout.state import Canary, NeedsHuman, Promoted, RolledBack, Shadow

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
ROBOTS = [f"robot-{number}" for number in range(4000)]


@given(NAMES, st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_a_robot_once_exposed_stays_exposed(robot: str, percents: list[float]) -> None:
    document = plan(holdout=0.1)
    seen = [exclusion(document, percent, robot) == EXPOSED for percent in sorted(percents)]
    assert all(later or not earlier for earlier, later in pairwise(seen))


@given(NAMES, st.text(max_size=20), st.integers(0, 10_000))
def test_every_block_holds_both_arms(robot: str, task: str, block: int) -> None:
    arms = {planned_arm("salt", robot, task, 2 * block), planned_arm("salt", robot, task, 2 * block + 1)}
    assert arms == {"A", "B"}


def test_orders_and_exposures_are_balanced_and_unrelated_between_salts() -> None:
    first = np.array([[planned_arm(salt, robot, "t", 0) == "B" for robot in ROBOTS] for salt in ("one", "two")])
    assert np.all(np.abs(first.mean(axis=1) - 0.5) < 0.03)
    assert abs(np.corrcoef(first)[0, 1]) < 0.06
    exposed = np.array([place(robot_key(robot), seeds("one", "exposure")) < 2**51 for robot in ROBOTS])
    assert abs(exposed.mean() - 0.25) < 0.03
    assert abs(np.corrcoef(exposed, first[0])[0, 1]) < 0.06
    later = np.array([planned_arm("one", robot, "t", 2) == "B" for robot in ROBOTS])
    assert abs(np.corrcoef(first[0], later)[0, 1]) < 0.06


def test_assignment_is_frozen() -> None:
    """The hashes are a format: a rollout that is under way must not change its mind with a new release."""
    drawn = "".join(planned_arm("salt-1", "robot-1", "reach", counter) for counter in range(16))
    assert drawn == "BAABABABABABABBA"
    assert place(robot_key("robot-1"), seeds("salt-1", "exposure")) == 864249367916822


def test_lists_and_pins() -> None:
    document = plan(allow=("in",), deny=("out",), pins={"pin": OTHER, "out-pin": OTHER}, holdout=0.999)
    canary = Canary(step=1, since=0.0)
    assert assign(document, canary, "in", "t", 0).arm in ("A", "B")
    assert assign(document, canary, "out", "t", 0).policy == CURRENT
    assert assign(document, Promoted(since=0.0, reason=""), "out", "t", 0).policy == CURRENT
    assert assign(document, Shadow(step=0, since=0.0), "out", "t", 0).shadow is None
    for state in (canary, TESTING, RolledBack(since=0.0, reason=""), Promoted(since=0.0, reason="")):
        pinned = assign(document, state, "pin", "t", 0)
        assert (pinned.policy, pinned.arm, pinned.reason) == (OTHER, "", "pinned")


def test_the_holdout_never_gets_the_candidate() -> None:
    document = plan(holdout=0.2)
    states = (TESTING, Promoted(since=0.0, reason=""))
    held = [[assign(document, state, robot, "t", 0).reason == "held out" for robot in ROBOTS] for state in states]
    assert held[0] == held[1]
    assert 0.17 < np.mean(held[0]) < 0.23


def test_every_state_says_what_to_run() -> None:
    document = plan()
    beside = assign(document, Shadow(step=0, since=0.0), "r", "t", 0)
    assert (beside.policy, beside.shadow, beside.arm) == (CURRENT, CANDIDATE, "")
    assert {assign(document, TESTING, "r", "t", counter).policy for counter in (0, 1)} == {CURRENT, CANDIDATE}
    assert assign(document, Promoted(since=0.0, reason=""), "r", "t", 5).policy == CANDIDATE
    for ended in (RolledBack(since=0.0, reason=""), NeedsHuman(since=0.0, reason="")):
        assert assign(document, ended, "r", "t", 5).policy == CURRENT


def test_a_state_of_another_rollout_is_refused() -> None:
    for position in (0, 7):
        with pytest.raises(RolloutError):
            assign(plan(), Canary(step=position, since=0.0), "r", "t", 0)
