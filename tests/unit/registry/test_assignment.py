"""A robot runs a policy only where release and assignment agree, and never one that is older than what it accepted."""

import json
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.memory_store import MemoryStore
from tests.unit.registry.folders import NOW, Platform, platform
from volano.embodiment.shipped import CAR, GLIDER, SCOUT
from volano.errors import Code, PolicyError, StorageError
from volano.registry import repository
from volano.registry.agent import Agent, RobotAgent, admit, papers_in
from volano.registry.assignment import Assigned, judge, read_assignment, replicas_of, sign_assignment
from volano.registry.ceremony import add_signature, draft, newest_root, publish_root
from volano.registry.confirmation import running, take_report, unconfirmed
from volano.registry.director import ASSIGNED_S, Director, newest_assignment
from volano.registry.report import sign_report, verify_report
from volano.registry.signing import generate

ROBOT = "scout-01"


def director(home: Platform) -> Director:
    """One that just started."""
    return Director(home.store, home.keys.key("director"), lambda: secrets.token_hex(16))


def assign(home: Platform, policy: str, now: float = NOW) -> bytes:
    return director(home).assign(home.look(now), policy, subject=ROBOT, contract=SCOUT.fingerprint, now=now)


def read(home: Platform, envelope: bytes) -> Assigned:
    return read_assignment(envelope, home.look())


def forged(home: Platform, envelope: bytes, **changes: object) -> bytes:
    """The same assignment with other fields, by whoever holds the director's key."""
    return sign_assignment(replace(read(home, envelope), **changes), home.keys.key("director"))  # type: ignore[arg-type]


def code_of(home: Platform, agent: Agent, envelope: bytes, now: float = NOW, robot: str = ROBOT) -> Code:
    with pytest.raises(PolicyError) as caught:
        agent.accept(envelope, home.look(now), subject=robot, contract=SCOUT.fingerprint, now=now)
    return caught.value.code


def test_an_assignment_is_given_again_until_it_is_half_over_and_counted_on_after_a_restart(tmp_path: Path) -> None:
    home = platform(tmp_path)
    one, two = home.release("one").digest, home.release("two", bytes(24)).digest
    first = assign(home, one)
    assert assign(home, one, NOW + ASSIGNED_S / 2 - 1) == first
    repository.renew(home.store, home.keys, home.trust, NOW + ASSIGNED_S / 2)
    second = assign(home, one, NOW + ASSIGNED_S / 2)
    third = assign(home, two)
    found = [read(home, envelope) for envelope in (first, second, third)]
    assert [(each.policy, each.counter) for each in found] == [(one, 1), (one, 2), (two, 3)]
    assert len({each.nonce for each in found}) == 3
    assert newest_assignment(home.store, ROBOT) == third


def test_two_directors_never_use_one_counter(tmp_path: Path) -> None:
    home = platform(tmp_path)
    policies = [home.release(str(number), bytes([number]) * 24).digest for number in range(2)]
    both = [director(home), director(home)]
    found = [
        each.assign(home.look(), policies[turn % 2], subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
        for turn in range(6)
        for each in both
    ]
    by_counter: dict[int, set[bytes]] = {}
    for envelope in found:
        by_counter.setdefault(read(home, envelope).counter, set()).add(envelope)
    assert all(len(said) == 1 for said in by_counter.values())


def test_going_back_to_an_older_release_is_said_and_has_a_higher_counter(tmp_path: Path) -> None:
    home = platform(tmp_path)
    old, new = home.release("one").digest, home.release("two", bytes(24)).digest
    agent = Agent(tmp_path / "accepted")
    for policy, rollback in ((old, False), (new, False), (old, True)):
        envelope = assign(home, policy)
        found = agent.accept(envelope, home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
        assert (found.policy, found.rollback) == (policy, rollback)
    assert code_of(home, Agent(tmp_path / "accepted"), forged(home, envelope, counter=9, rollback=False, number=1)) is (
        Code.POLICY_ASSIGNMENT
    ), "a number that is not its release's"
    agent.accept(assign(home, new), home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    silent = forged(home, envelope, counter=10, rollback=False)
    assert code_of(home, agent, silent) is Code.POLICY_OLDER


def test_who_missed_the_assignment_that_went_back_believes_those_after_it(tmp_path: Path) -> None:
    home = platform(tmp_path)
    old, new = home.release("one").digest, home.release("two", bytes(24)).digest
    agent = Agent(tmp_path / "accepted")
    agent.accept(assign(home, new), home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    assign(home, old)
    later = NOW + ASSIGNED_S / 2
    repository.renew(home.store, home.keys, home.trust, later)
    envelope = assign(home, old, later)
    assert read(home, envelope).counter == 3
    agent.accept(envelope, home.look(later), subject=ROBOT, contract=SCOUT.fingerprint, now=later)


def test_a_director_gives_no_assignment_again_that_another_one_replaced(tmp_path: Path) -> None:
    home = platform(tmp_path)
    one, two = home.release("one").digest, home.release("two", bytes(24)).digest
    here, agent = director(home), Agent(tmp_path / "accepted")
    for who, policy in ((here, one), (director(home), two), (here, one), (here, one)):
        envelope = who.assign(home.look(), policy, subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
        assert envelope == newest_assignment(home.store, ROBOT)
        agent.accept(envelope, home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    assert read(home, envelope).counter == 3


class Away(MemoryStore):
    """A store that may be out of reach."""

    away = False

    def exists(self, key: str) -> bool:
        if self.away:
            raise StorageError(Code.STORE_UNAVAILABLE, f"no answer about {key}", "wait")
        return super().exists(key)


def test_while_the_store_is_away_an_assignment_is_given_again_until_it_is_half_over(tmp_path: Path) -> None:
    store = Away()
    home = platform(tmp_path, store)
    policy, here = home.release("one").digest, director(home)
    releases = home.look()
    named = {"subject": ROBOT, "contract": SCOUT.fingerprint}
    first = here.assign(releases, policy, **named, now=NOW)
    store.away = True
    assert here.assign(releases, policy, **named, now=NOW + ASSIGNED_S / 2 - 1) == first
    with pytest.raises(StorageError):
        director(home).assign(releases, policy, **named, now=NOW)


def test_what_was_accepted_outlives_the_process_and_nothing_older_is_believed(tmp_path: Path) -> None:
    home = platform(tmp_path)
    old, new = home.release("one").digest, home.release("two", bytes(24)).digest
    first, second = assign(home, old), assign(home, new)
    for envelope in (first, first, second, second):
        Agent(tmp_path / "accepted").accept(envelope, home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    assert code_of(home, Agent(tmp_path / "accepted"), first) is Code.POLICY_OLDER
    assert code_of(home, Agent(tmp_path / "accepted"), forged(home, second, nonce="0" * 32)) is Code.POLICY_OLDER
    (tmp_path / "accepted" / f"{ROBOT}.json").write_bytes(b"{}")
    assert code_of(home, Agent(tmp_path / "accepted"), second) is Code.POLICY_FORMAT


def test_an_assignment_counts_for_its_robot_contract_policy_and_time_only(tmp_path: Path) -> None:
    home = platform(tmp_path)
    policy = home.release("one").digest
    envelope, agent = assign(home, policy), Agent(tmp_path / "accepted")
    assert code_of(home, agent, envelope, robot="scout-02") is Code.POLICY_ASSIGNMENT
    assert code_of(home, agent, forged(home, envelope, contract=CAR.fingerprint)) is Code.POLICY_ASSIGNMENT
    assert code_of(home, agent, forged(home, envelope, policy="e" * 64)) is Code.POLICY_UNRELEASED
    assert code_of(home, agent, forged(home, envelope, until=NOW)) is Code.POLICY_EXPIRED
    foreign = forged(home, envelope, contract=GLIDER.fingerprint)
    with pytest.raises(PolicyError, match="does not serve"):
        judge(foreign, home.look(), None, subject=ROBOT, contract=GLIDER.fingerprint, now=NOW)
    stranger = sign_assignment(read(home, envelope), generate(tmp_path, "a.key", "a.pub"))
    assert code_of(home, agent, stranger) is Code.POLICY_SIGNATURE
    repository.withdraw(home.store, home.keys, home.trust, policy, NOW)
    assert code_of(home, agent, envelope) is Code.POLICY_UNRELEASED
    assert agent.last(ROBOT) is None


@pytest.mark.parametrize("field", ["subject", "contract", "policy", "number", "counter", "rollback", "nonce", "until"])
def test_an_assignment_of_another_form_is_refused_even_when_signed(tmp_path: Path, field: str) -> None:
    home = platform(tmp_path)
    envelope = assign(home, home.release("one").digest)
    values: list[object] = [None, [], {}, "x", -1, *([] if field == "rollback" else [True])]
    for value in values:
        other = forged(home, envelope, **{field: value})
        with pytest.raises(PolicyError):
            judge(other, home.look(), None, subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)


def test_after_the_director_s_key_was_exchanged_counters_go_on(tmp_path: Path) -> None:
    home = platform(tmp_path)
    policy = home.release("one").digest
    agent, before = Agent(tmp_path / "accepted"), assign(home, policy)
    agent.accept(before, home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    old = director(home)
    paper = add_signature(draft(newest_root(home.store, home.trust), "director", home.keys, NOW), home.keys.key("root"))
    publish_root(home.store, home.keys, home.trust, paper, NOW)
    assert code_of(home, agent, before) is Code.POLICY_SIGNATURE
    with pytest.raises(PolicyError) as caught:
        old.assign(home.look(), policy, subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    assert caught.value.code is Code.POLICY_KEYS
    after = agent.accept(assign(home, policy), home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
    assert after.counter == 2


def test_a_replica_loads_what_is_released_and_assigned_to_replicas_and_nothing_else(tmp_path: Path) -> None:
    home = platform(tmp_path)
    policy, other = home.release("one").digest, home.release("two", bytes(24)).digest
    known = home.look().trusted
    with pytest.raises(PolicyError, match="nobody assigned"):
        admit(home.store, known, 1, policy, tmp_path / "a", NOW)
    director(home).assign(home.look(), policy, subject=replicas_of(policy), contract="", now=NOW)
    assert admit(home.store, known, 1, policy, tmp_path / "b", NOW).digest == policy
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(PolicyError, match="2 was seen"):
        admit(home.store, known, 2, policy, tmp_path / "c", NOW)
    director(home).assign(home.look(), other, subject=replicas_of(policy), contract="", now=NOW)
    with pytest.raises(PolicyError) as caught:
        admit(home.store, known, 1, policy, tmp_path / "d", NOW)
    assert caught.value.code is Code.POLICY_ASSIGNMENT
    with pytest.raises(PolicyError) as caught:
        admit(home.store, known, 1, policy, tmp_path / "e", NOW + ASSIGNED_S)
    assert caught.value.code is Code.POLICY_EXPIRED
    assert not any((tmp_path / name).exists() for name in "acde")


def test_a_robot_s_own_agent_executes_the_assigned_policy_only_and_reports_it(tmp_path: Path) -> None:
    home = platform(tmp_path)
    one, two = home.release("one").digest, home.release("two", bytes(24)).digest
    key, said, now = generate(tmp_path / "robot", "robot.key", "robot.pub"), [], [NOW]
    agent = RobotAgent(
        papers_in(home.store, ROBOT),
        home.robot(),
        Agent(tmp_path / "accepted"),
        robot=ROBOT,
        contract=SCOUT.fingerprint,
        report=lambda assigned, at: said.append(sign_report(assigned, key, at)),
        clock=lambda: now[0],
    )
    assert agent.problem(one).startswith("E-POLICY-003"), "nobody assigned it anything"
    envelope = assign(home, one)
    assert (agent.problem(one), agent.problem(one)) == ("", "")
    assert agent.problem(two).startswith("E-POLICY-008")
    assigned = read(home, envelope)
    report = verify_report(said[0], ROBOT, key.public_key(), assigned)
    assert (len(said), report.policy, report.at) == (1, one, NOW)
    keys = {ROBOT: key.public_key(), "scout-02": key.public_key()}
    assert unconfirmed(running(home.store, home.look(), keys), one) == (ROBOT,)
    for _ in range(2):
        assert take_report(home.store, home.look(), ROBOT, key.public_key(), said[0]) == report
    found = running(home.store, home.look(), keys)
    assert [(each.robot, each.report) for each in found] == [(ROBOT, report), ("scout-02", None)]
    assert unconfirmed(found, one) == unconfirmed(found, two) == ()
    later = read(home, assign(home, two))
    assert unconfirmed(running(home.store, home.look(), keys), two) == (ROBOT,)
    with pytest.raises(PolicyError):
        take_report(home.store, home.look(), ROBOT, key.public_key(), said[0])
    for other in (later, replace(assigned, nonce="0" * 32)):
        with pytest.raises(PolicyError) as caught:
            verify_report(said[0], ROBOT, key.public_key(), other)
        assert caught.value.code is Code.POLICY_REPORT
    with pytest.raises(PolicyError):
        verify_report(said[0], ROBOT, generate(tmp_path, "b.key", "b.pub").public_key(), assigned)
    now[0] = NOW + ASSIGNED_S
    assert agent.problem(one).startswith("E-POLICY-005"), "nobody signs any more: the robot falls back"


def test_a_signature_written_in_another_way_is_the_same_assignment(tmp_path: Path) -> None:
    home = platform(tmp_path)
    envelope, agent = assign(home, home.release("one").digest), Agent(tmp_path / "accepted")
    for spelling in (envelope, json.dumps(json.loads(envelope), indent=1).encode()):
        agent.accept(spelling, home.look(), subject=ROBOT, contract=SCOUT.fingerprint, now=NOW)
