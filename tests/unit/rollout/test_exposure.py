"""A fleet is exposed as each of its robots is, bit for bit; ramps never flip, salts are unrelated, holdouts stay."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CANDIDATE, CURRENT, OTHER, plan
from volano.rollout.assign import assign
from volano.rollout.exposure import CELL_FULL, EXPOSED, HELD_OUT, PINNED, Fleet, exclusion, exclusions, robot_key
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep
from volano.rollout.state import Canary, Hold

ROBOTS = [
    (f"robot-{number}", f"site-{number % 3}", ("arm", "car")[number // 3 % 2])
    for number in Random(1).sample(range(900), 300)
]
FLEET = Fleet.of(ROBOTS)
PEERS = {robot[1:]: tuple(name for name, *cell in ROBOTS if tuple(cell) == robot[1:]) for robot in ROBOTS}


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0, 100),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.sampled_from([(), ("site-1",), ("site-0", "site-2", "nowhere")]),
    st.sampled_from([(), tuple(name for name, _, _ in ROBOTS[:150])]),
    st.integers(0, 3),
)
def test_the_fleet_is_exposed_as_each_robot_is(
    percent: float, holdout: float, sites: tuple[str, ...], robots: tuple[str, ...], cell: int
) -> None:
    names = [name for name, _, _ in ROBOTS]
    document = plan(
        holdout=holdout, sites=sites, robots=robots, max_per_cell=cell, allow=tuple(names[:3]), deny=tuple(names[3:9])
    )
    one_by_one = [exclusion(document, percent, name, site, PEERS[site, kind]) for name, site, kind in ROBOTS]
    assert exclusions(document, percent, FLEET).tolist() == one_by_one


@pytest.mark.parametrize("cell", [0, 1])
def test_whoever_is_exposed_stays_exposed_up_the_ramp(cell: int) -> None:
    document = plan(holdout=0.05, max_per_cell=cell)
    seen = [exclusions(document, percent, FLEET) == EXPOSED for percent in (0, 1, 5, 10, 25, 50, 100)]
    assert all(not np.any(before & ~after) for before, after in pairwise(seen))
    assert seen[-1].sum() == (exclusions(document, 100, FLEET) != HELD_OUT).sum() > 250


def test_a_cell_gives_no_more_robots_than_it_may() -> None:
    found = exclusions(plan(max_per_cell=2), 60, FLEET)
    assert [int((found[FLEET.cell == cell] == EXPOSED).sum()) for cell in range(6)] == [2] * 6
    assert (found == CELL_FULL).sum() > 100


def test_the_same_robots_are_held_out_of_every_rollout_of_a_fleet() -> None:
    held = [
        exclusions(plan(holdout=0.2, salt=salt, fleet=fleet), 100, FLEET) == HELD_OUT
        for salt, fleet in (("one", "north"), ("two", "north"), ("two", "south"))
    ]
    assert np.array_equal(held[0], held[1])
    assert 40 < (held[1] ^ held[2]).sum() < 160


def test_salts_are_unrelated_and_shares_are_met() -> None:
    many = Fleet.of([(f"r{number}", "here", "arm") for number in range(40_000)])
    first, second = (exclusions(plan(salt=salt), 30, many) == EXPOSED for salt in ("one", "two"))
    assert abs(first.mean() - 0.3) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


def test_a_pin_wins_over_everything() -> None:
    name = ROBOTS[0][0]
    document = plan(pins={name: OTHER}, deny=(name,))
    assert exclusions(document, 100, FLEET)[0] == PINNED
    assert assign(document, Canary(step=1, since=0.0), name, "t", 0).policy == OTHER


def test_a_pause_keeps_who_runs_both_arms_and_before_canaries_nobody_does() -> None:
    canary, test = CanaryStep(percent=30.0, min_episodes=1), ABTestStep(min_blocks=1, max_blocks=2)
    document = plan(steps=(HoldStep(seconds=5.0), canary, HoldStep(seconds=0.0), test), allow=(ROBOTS[0][0],))
    during = [assign(document, Canary(step=1, since=0.0), name, "t", 0) for name, _, _ in ROBOTS]
    paused = [assign(document, Hold(step=2, since=0.0), name, "t", 0) for name, _, _ in ROBOTS]
    before = [assign(document, Hold(step=0, since=0.0), name, "t", 0) for name, _, _ in ROBOTS]
    assert during == paused
    assert {one.policy for one in during} == {CURRENT, CANDIDATE}
    assert {one.policy for one in before} == {CURRENT}


def test_other_tasks_and_sites_keep_the_policy_in_place() -> None:
    document, state = plan(tasks=("reach",), sites=("hall",)), Canary(step=1, since=0.0)
    exposed = next(n for n, _, _ in ROBOTS if assign(document, state, n, "reach", 0, site="hall").arm)
    assert assign(document, state, exposed, "push", 0, site="hall").reason == "another task"
    assert assign(document, state, exposed, "reach", 0, site="yard").reason == "not selected"


def test_the_hash_of_a_name_is_frozen() -> None:
    assert robot_key("robot-1") == 7155576791085396179
    exposed = exclusions(plan(), 37, Fleet.of([(f"r{n}", "s", "k") for n in range(16)])) == EXPOSED
    assert np.flatnonzero(exposed).tolist() == [6, 7, 10, 13, 15]
