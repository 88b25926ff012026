"""An episode is given one policy, once, counted and audited in one transaction; older ledgers keep what they hold."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from tests.unit.ledger.samples import POLICY, ROBOT, ROLLOUT, event, start
from volano.errors import Code, LedgerError
from volano.ledger import database
from volano.ledger.audit import verify
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.records import Choice, Situation


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with open_ledger(url) as opened:
        opened.enroll_robot(ROBOT, "key", "operator")
        yield opened


def kinds(ledger: Ledger) -> list[str]:
    rows = list(ledger.audit())
    verify(rows)
    return [row.kind for row in rows]


def measured(situation: Situation) -> Choice:
    """Every episode of the active rollout is measured; its policy names its counter."""
    rollout = situation.rollout.id if situation.rollout else ""
    return Choice(
        rollout=rollout, policy=f"policy {situation.counter}", shadow=None, arm="A" if rollout else "", reason="test"
    )


def test_the_policy_in_place_is_replaced_and_audited(ledger: Ledger) -> None:
    assert ledger.current("f" * 64) is None
    ledger.set_current("f" * 64, "one", "operator", 1.0)
    ledger.set_current("f" * 64, "two", "controller", 2.0)
    ledger.set_current("f" * 64, "two", "controller", 3.0)
    ledger.set_current("e" * 64, "three", "operator", 4.0)
    assert ledger.current("f" * 64) == "two"
    assert ledger.current_policies() == {"f" * 64: "two", "e" * 64: "three"}
    assert kinds(ledger)[1:] == ["policy.current"] * 3
    assert '"previous":"one"' in list(ledger.audit())[2].payload


def test_an_episode_asked_again_keeps_what_it_was_given(ledger: Ledger) -> None:
    start(ledger)
    first = ledger.assign_episode(ROBOT.id, "push", "episode-1", measured, 5.0)
    assert (first.policy, first.counter, first.rollout, first.at) == ("policy 0", 0, ROLLOUT, 5.0)
    ledger.advance_rollout(ROLLOUT, 0, "{}", event(6.0), ended=True)
    with open_ledger(ledger.url) as reopened:
        assert reopened.assign_episode(ROBOT.id, "push", "episode-1", measured, 7.0) == first
    assert kinds(ledger).count("episode.assigned") == 1
    assert ledger.assignments(ROLLOUT) == (first,)


def test_only_measured_episodes_of_this_robot_task_and_rollout_count(ledger: Ledger) -> None:
    ledger.enroll_robot(replace(ROBOT, id="arm-2"), "other key", "operator")
    ledger.assign_episode(ROBOT.id, "push", "before", measured, 1.0)
    start(ledger)
    unmeasured = Choice(rollout=ROLLOUT, policy="old", shadow="new", arm="", reason="denied")
    ledger.assign_episode(ROBOT.id, "push", "unmeasured", lambda _: unmeasured, 2.0)
    ledger.assign_episode(ROBOT.id, "pull", "other-task", measured, 3.0)
    ledger.assign_episode("arm-2", "push", "other-robot", measured, 4.0)
    given = [ledger.assign_episode(ROBOT.id, "push", f"episode-{n}", measured, 5.0 + n) for n in range(3)]
    assert [assignment.counter for assignment in given] == [0, 1, 2]
    assert ledger.policies_assigned_since(5.5) == {"policy 1", "policy 2"}
    assert ledger.policies_assigned_since(2.0) == {"old", "new", "policy 0", "policy 1", "policy 2"}


def test_a_decision_that_raises_keeps_nothing(ledger: Ledger) -> None:
    def refuse(_situation: Situation) -> Choice:
        raise ValueError("no policy")

    before = kinds(ledger)
    with pytest.raises(ValueError, match="no policy"):
        ledger.assign_episode(ROBOT.id, "push", "episode-1", refuse, 1.0)
    assert kinds(ledger) == before
    assert ledger.assign_episode(ROBOT.id, "push", "episode-1", measured, 2.0).at == 2.0


def test_a_robot_that_is_revoked_is_given_nothing_new(ledger: Ledger) -> None:
    ledger.revoke_robot(ROBOT.id, "operator", 1.0)
    for robot in (ROBOT.id, "nobody"):
        with pytest.raises(LedgerError) as caught:
            ledger.assign_episode(robot, "push", "episode-1", measured, 2.0)
        assert caught.value.code is Code.LEDGER_STATE


def test_episodes_that_start_at_once_never_share_a_counter(ledger: Ledger) -> None:
    start(ledger)

    def begin(number: int) -> int:
        with Ledger(ledger.url) as own:
            return own.assign_episode(ROBOT.id, "push", f"episode-{number}", measured, float(number)).counter

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(begin, range(24))) == list(range(24))
    verify(ledger.audit())


def test_an_upgraded_ledger_keeps_its_rows(url: str) -> None:
    old = Ledger(url)
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with database.writing(old.engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    old.enroll_robot(ROBOT, "key", "operator")
    old.put_policy(POLICY, "trainer", 2.0)
    created = start(old)
    before = list(old.audit())
    old.close()
    with open_ledger(url) as upgraded:
        assert list(upgraded.audit()) == before
        assert (upgraded.robot_by_key("key"), upgraded.policies()) == (ROBOT, (POLICY,))
        assert upgraded.active_rollout() == created
        assert upgraded.assign_episode(ROBOT.id, "push", "episode-1", measured, 3.0).rollout == ROLLOUT
        with upgraded.engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == database.HEAD
        verify(upgraded.audit())
