"""Robots that are away for a day: those that bring episodes decide, and what comes late counts once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from serving.directory import choose
from tests.unit.data.memory_store import MemoryStore
from tests.unit.flywheel.season import CANDIDATE, CURRENT, PLAN, TASKS, accept, no_problem, prepare
from volano.flywheel import reconcile
from volano.ledger.ledger import Ledger, open_ledger

AWAY = {"glider-0", "scout-1"}
"""Of six robots."""
_DAY_S, _PATIENCE_S = 86_400.0, 2 * 86_400.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        prepare(opened)
        yield opened


def test_a_quorum_decides_and_late_evidence_counts_once(ledger: Ledger) -> None:
    store, random, lines, states = MemoryStore(), Random(5), list[dict[str, object]](), []
    for number in range(60):
        at = 1000.0 + 600.0 * number
        for robot in ledger.robots():
            for task in TASKS:
                given = ledger.assign_episode(
                    robot.id, task, f"{task}-{number:03d}", lambda situation: choose(situation, no_problem), at
                )
                success = random.random() < {CURRENT: 0.2, CANDIDATE: 0.95}[given.policy]
                if robot.id not in AWAY:
                    accept(store, robot, given, success=success)
                if given.shadow is not None:
                    name = f"{robot.id}/{given.episode}"
                    line = {"robot": robot.id, "episode": given.episode, "request": name, "problem": ""}
                    lines.append({"rollout": PLAN.id, **line})
        found = reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=_PATIENCE_S, now=at + 1)
        states.append(found.state.kind)
        if found.ended:
            break
    assert states[-1] == "promoted"
    assert {outcome.robot for outcome in found.evidence.outcomes.values()} == {
        robot.id for robot in ledger.robots() if robot.id not in AWAY
    }
    back = ledger.assign_episode(
        "glider-0", "red", "back", lambda situation: choose(situation, no_problem), at + _DAY_S
    )
    assert back.policy == CANDIDATE, "the first question of who comes back gets what holds now"


def test_what_comes_a_day_late_replaces_that_it_was_missing_and_counts_once(ledger: Ledger) -> None:
    store, waiting = MemoryStore(), []
    lines: list[dict[str, object]] = [
        {"rollout": PLAN.id, "robot": f"r{number}", "episode": "e", "request": str(number), "problem": ""}
        for number in range(4)
    ]
    reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=60.0, now=20.0)
    for number in range(4):
        for robot in ledger.robots():
            given = ledger.assign_episode(
                robot.id, "red", f"red-{number}", lambda situation: choose(situation, no_problem), 30.0 + number
            )
            if given.arm:
                waiting.append((robot, given))
    missing = reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=60.0, now=1000.0)
    assert len(missing.evidence.outcomes) == len(waiting) > 0, "that they are missing is known"
    assert missing.verdicts[-1].numbers["candidate_episodes"] == 0
    for robot, given in waiting:
        accept(store, robot, given, success=True)
    for again in range(3):
        late = (
            reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=60.0, now=_DAY_S + again).verdicts[-1].numbers
        )
        assert late["candidate_episodes"] == sum(given.arm == "B" for _, given in waiting)
        assert late["unlabelled"] == 0


def test_what_ran_another_policy_than_it_was_given_is_no_evidence(ledger: Ledger) -> None:
    store = MemoryStore()
    lines: list[dict[str, object]] = [
        {"rollout": PLAN.id, "robot": f"r{number}", "episode": "e", "request": str(number), "problem": ""}
        for number in range(4)
    ]
    reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=60.0, now=20.0)
    measured = 0
    for robot in ledger.robots():
        for number in range(2):
            given = ledger.assign_episode(
                robot.id, "red", f"red-{number}", lambda situation: choose(situation, no_problem), 30.0
            )
            measured += bool(given.arm)
            other = CANDIDATE if given.policy == CURRENT else CURRENT
            accept(store, robot, replace(given, policy=other), success=True)
    numbers = reconcile.look(ledger, store, PLAN.id, lines, missing_after_s=60.0, now=100.0).verdicts[-1].numbers
    assert measured > 0
    assert numbers["candidate_episodes"] == 0
    assert numbers["set_aside"] == measured
