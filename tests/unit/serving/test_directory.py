"""A route is decided once, kept with its counter, the same for whoever asks again, and names ready policies only."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from serving.directory import LedgerDirectory, named_policies, withdrawn_policies
from serving.routes import RobotRecord
from volano.embodiment.shipped import CAR, SCOUT, SHIPPED
from volano.errors import Code, ContractError, ServeError
from volano.inference.bench import TASK
from volano.inference.protocols.own import Status
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.records import Event, Robot
from volano.rollout.plan import Rollout
from volano.rollout.state import ABTest, Promoted, RolledBack, Shadow, State, state_to_json

OLD, NEW, PINNED = (digit * 64 for digit in "abc")
PLAN = Rollout(id="rollout-1", embodiments=(SCOUT.fingerprint,), current=OLD, candidate=NEW, salt="salt-1")


def permitted(robot: str, contract: str, policy: str) -> None:
    """Every robot may run every policy."""
    del robot, policy
    assert contract in {robot.fingerprint for robot in SHIPPED.values()}


@dataclass(kw_only=True)
class Fleet:
    """A ledger with three scouts and a car, a directory over it, and what stands in the way of each policy."""

    ledger: Ledger
    problems: dict[str, str] = field(default_factory=dict)

    def directory(self) -> LedgerDirectory:
        return LedgerDirectory(
            self.ledger, SHIPPED.values(), lambda policy: self.problems.get(policy, ""), permitted, lambda: 100.0
        )

    def roll_out(self, state: State, plan: Rollout = PLAN) -> None:
        text = json.dumps(state_to_json(state))
        event = Event(at=1.0, kind="rollout.created", actor="test", payload={})
        self.ledger.create_rollout(plan.id, json.dumps(plan.to_json()), text, event)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        for name, robot in (("scout-01", SCOUT), ("scout-02", SCOUT), ("scout-03", SCOUT), ("car-01", CAR)):
            ledger.enroll_robot(
                Robot(
                    id=name,
                    embodiment=robot.tag,
                    fingerprint=robot.fingerprint,
                    site="lab",
                    enrolled_at=1.0,
                    revoked=False,
                ),
                f"key of {name}",
                "operator",
            )
        yield Fleet(ledger=ledger)


def held(directory: LedgerDirectory, robot: str, episode: str) -> str:
    with pytest.raises(ServeError) as caught:
        directory.route(robot, "task", episode)
    assert caught.value.code is Code.SERVE_UNAVAILABLE
    return caught.value.cause


def sha(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_robot_is_found_by_the_hash_of_its_key(fleet: Fleet) -> None:
    record = fleet.directory().robot(sha("key of car-01"))
    assert record is not None
    assert (record.id, record.embodiment) == ("car-01", CAR)
    assert fleet.directory().robot(sha("key of nobody")) is None
    fleet.ledger.revoke_robot("car-01", "operator", 2.0)
    assert fleet.directory().robot(sha("key of car-01")) is None


def test_a_robot_with_a_contract_nobody_knows_is_told_apart_from_a_stranger(fleet: Fleet) -> None:
    directory = LedgerDirectory(fleet.ledger, [CAR], lambda _policy: "", permitted)
    with pytest.raises(ContractError) as caught:
        directory.robot(sha("key of scout-01"))
    assert caught.value.code is Code.CONTRACT_UNKNOWN


def test_without_a_rollout_the_policy_in_place_acts_and_an_embodiment_without_one_holds(fleet: Fleet) -> None:
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "operator", 1.0)
    route = fleet.directory().route("scout-01", "task", "episode-1")
    assert asdict(route) == {"policy": OLD, "shadow": None, "rollout": "", "arm": ""}
    assert "'car'" in held(fleet.directory(), "car-01", "episode-1")
    fleet.ledger.set_current(SCOUT.fingerprint, NEW, "operator", 2.0)
    assert fleet.directory().route("scout-01", "task", "episode-1").policy == OLD, "the episode goes on as it began"
    assert fleet.directory().route("scout-01", "task", "episode-2").policy == NEW


def test_a_rollout_leaves_other_embodiments_alone(fleet: Fleet) -> None:
    fleet.ledger.set_current(CAR.fingerprint, PINNED, "operator", 1.0)
    fleet.roll_out(ABTest(step=2, since=1.0))
    assert asdict(fleet.directory().route("car-01", "task", "episode-1"))["rollout"] == ""
    assert fleet.directory().route("scout-01", "task", "episode-1").rollout == PLAN.id


def test_a_bench_is_not_measured_and_gets_what_is_in_place(fleet: Fleet) -> None:
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "test", 1.0)
    fleet.roll_out(ABTest(step=2, since=1.0))
    routes = [fleet.directory().route("scout-01", TASK, f"bench-{number}") for number in range(4)]
    assert {(route.policy, route.rollout, route.arm) for route in routes} == {(OLD, "", "")}
    assert not fleet.ledger.assignments("rollout-1")


def test_each_block_of_two_measured_episodes_has_both_arms_even_across_restarts(fleet: Fleet) -> None:
    fleet.roll_out(ABTest(step=2, since=1.0))
    arms = []
    for number in range(12):
        with open_ledger(fleet.ledger.url) as ledger:  # every episode meets a gateway that was just started
            again = [Fleet(ledger=ledger).directory().route("scout-02", "task", f"episode-{number}") for _ in range(2)]
        assert again[0] == again[1]
        assert again[0].policy == {"A": OLD, "B": NEW}[again[0].arm]
        arms.append(again[0].arm)
    assert [sorted(arms[at : at + 2]) for at in range(0, 12, 2)] == [["A", "B"]] * 6
    kept = fleet.ledger.assignments(PLAN.id)
    assert sorted(assignment.counter for assignment in kept) == list(range(12))


def test_a_policy_that_is_not_ready_holds_the_robot_and_uses_up_no_counter(fleet: Fleet) -> None:
    fleet.roll_out(ABTest(step=2, since=1.0))
    fleet.problems[NEW] = "its replicas are starting"
    with suppress(ServeError):
        fleet.directory().route("scout-01", "task", "episode-0")
    begun = [assignment.arm for assignment in fleet.ledger.assignments(PLAN.id)]
    assert begun in ([], ["A"])
    for number in range(1, 4):
        assert "starting" in held(fleet.directory(), "scout-01", f"episode-{number}"), "the candidate's turn is kept"
    fleet.problems.clear()
    rest = [fleet.directory().route("scout-01", "task", f"episode-{n}").arm for n in range(4, 6 - len(begun))]
    assert sorted(begun + rest) == ["A", "B"]


def test_an_assignment_that_was_kept_waits_for_its_own_policy(fleet: Fleet) -> None:
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "operator", 1.0)
    route = fleet.directory().route("scout-01", "task", "episode-1")
    fleet.ledger.set_current(SCOUT.fingerprint, NEW, "operator", 2.0)
    fleet.problems[OLD] = "its replicas are starting"
    assert OLD[:12] in held(fleet.directory(), "scout-01", "episode-1")
    fleet.problems.clear()
    assert fleet.directory().route("scout-01", "task", "episode-1") == route


def test_a_shadow_that_is_not_ready_is_left_out(fleet: Fleet) -> None:
    fleet.roll_out(Shadow(step=0, since=1.0))
    assert fleet.directory().route("scout-01", "task", "episode-1").shadow == NEW
    fleet.problems[NEW] = "E-POLICY-002"
    route = fleet.directory().route("scout-01", "task", "episode-2")
    assert (route.policy, route.shadow) == (OLD, None)


def test_what_must_be_served_is_in_place_in_a_rollout_or_still_in_an_episode(fleet: Fleet) -> None:
    assert named_policies(fleet.ledger, 0.0) == frozenset()
    fleet.ledger.set_current(SCOUT.fingerprint, PINNED, "operator", 1.0)
    fleet.directory().route("scout-01", "task", "episode-1")
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "operator", 1.0)
    assert named_policies(fleet.ledger, 100.0) == {PINNED, OLD}
    assert named_policies(fleet.ledger, 100.5) == {OLD}
    fleet.roll_out(Promoted(since=1.0, reason="better"))
    assert named_policies(fleet.ledger, 100.5) == {OLD, NEW}
    assert fleet.directory().route("scout-03", "task", "episode-9").policy == NEW


def test_a_rollback_withdraws_the_candidate_and_what_was_given_it_gets_no_more(fleet: Fleet) -> None:
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "operator", 1.0)
    fleet.roll_out(ABTest(step=2, since=1.0))
    begun = {
        f"episode-{number}": fleet.directory().route("scout-01", "task", f"episode-{number}") for number in range(4)
    }
    assert {route.policy for route in begun.values()} == {OLD, NEW}
    assert withdrawn_policies(fleet.ledger) == frozenset()
    state = json.dumps(state_to_json(RolledBack(since=2.0, reason="harm")))
    fleet.ledger.advance_rollout(PLAN.id, 0, state, Event(at=2.0, kind="end", actor="test", payload={}), ended=True)
    assert withdrawn_policies(fleet.ledger) == {(PLAN.id, NEW), ("", NEW)}
    for episode, route in begun.items():
        if route.policy == OLD:
            assert fleet.directory().route("scout-01", "task", episode) == route
        else:
            with pytest.raises(ServeError) as caught:
                fleet.directory().route("scout-01", "task", episode)
            assert caught.value.code is Code.ROLLOUT_WITHDRAWN
    assert fleet.directory().route("scout-01", "task", "another").policy == OLD
    fleet.ledger.set_current(SCOUT.fingerprint, NEW, "operator", 3.0)
    assert withdrawn_policies(fleet.ledger) == {(PLAN.id, NEW)}, "what is in place by another decision acts"


def test_a_robot_waits_for_the_policies_that_its_next_episode_may_get(fleet: Fleet) -> None:
    scout, car = (RobotRecord(id=name, embodiment=robot) for name, robot in (("scout-01", SCOUT), ("car-01", CAR)))
    loading = {
        policy: Status(stage="starting", policy=policy, elapsed_s=1.0, expected_s=None) for policy in (NEW, PINNED)
    }
    directory = fleet.directory()
    assert directory.standing(scout, loading.get) is None, "no policy is in place: there is nothing to wait for"
    fleet.ledger.set_current(CAR.fingerprint, PINNED, "test", 1.0)
    fleet.roll_out(ABTest(step=2, since=1.0))
    assert directory.standing(scout, loading.get) == loading[NEW]
    assert directory.standing(car, loading.get) == loading[PINNED]
    assert directory.standing(scout, lambda _: None) is None


def test_a_rollout_that_cannot_be_read_is_not_followed_and_robots_run_what_is_in_place(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.ledger.set_current(SCOUT.fingerprint, OLD, "operator", 1.0)
    older = json.dumps({"id": PLAN.id, "candidate": NEW})
    event, running = Event(at=1.0, kind="step", actor="test", payload={}), state_to_json(ABTest(step=2, since=1.0))
    fleet.ledger.create_rollout(PLAN.id, older, json.dumps(running), event)
    route = fleet.directory().route("scout-01", "task", "episode-1")
    assert asdict(route) == {"policy": OLD, "shadow": None, "rollout": "", "arm": ""}
    assert "cannot be read" in caplog.text
    assert named_policies(fleet.ledger, 0.0) == {OLD}
    assert fleet.directory().standing(RobotRecord(id="scout-01", embodiment=SCOUT), lambda _: None) is None
    ended = json.dumps(state_to_json(RolledBack(since=2.0, reason="older")))
    fleet.ledger.advance_rollout(PLAN.id, 0, ended, event, ended=True)
    assert withdrawn_policies(fleet.ledger) == {(PLAN.id, NEW), ("", NEW)}
