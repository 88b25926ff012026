"""Every change is whole, audited and refused when it contradicts; a kill at any statement leaves nothing half-done."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from tests.unit.ledger.faults import dying, killed
from tests.unit.ledger.samples import POLICY, REPLACEMENT, ROBOT, ROLLOUT, event, start, step
from volano.cluster import ROOT
from volano.errors import Code, LedgerError
from volano.ledger import database
from volano.ledger.audit import verify
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.tables import Base


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with open_ledger(url) as opened:
        yield opened


def kinds(ledger: Ledger) -> list[str]:
    rows = list(ledger.audit())
    verify(rows)
    return [row.kind for row in rows]


def refused(act: Callable[[], object], code: Code = Code.LEDGER_STATE) -> str:
    with pytest.raises(LedgerError) as caught:
        act()
    assert caught.value.code is code
    return caught.value.cause


def change(ledger: Ledger, statement: str) -> None:
    """Something that the ledger itself never does."""
    with database.writing(ledger.engine).begin() as connection:
        connection.exec_driver_sql(statement)


def test_a_robot_is_known_by_its_key_until_revoked(ledger: Ledger) -> None:
    ledger.enroll_robot(ROBOT, "secret key", "operator")
    assert ledger.robot_by_key("secret key") == ROBOT
    assert ledger.robot_by_key("secret") is None
    ledger.revoke_robot(ROBOT.id, "operator", 20.0)
    ledger.revoke_robot(ROBOT.id, "operator", 21.0)
    assert ledger.robot_by_key("secret key") is None
    assert ledger.robots() == (replace(ROBOT, revoked=True),)
    assert kinds(ledger) == ["robot.enrolled", "robot.revoked"]


def test_a_key_is_nowhere_in_the_file(ledger: Ledger, path: Path) -> None:
    ledger.enroll_robot(ROBOT, "secret key", "operator")
    ledger.close()
    assert path.is_file()
    for file in path.parent.iterdir():
        assert b"secret key" not in file.read_bytes()


def test_enrolment_neither_replaces_a_robot_nor_shares_a_key(ledger: Ledger) -> None:
    ledger.enroll_robot(ROBOT, "one", "operator")
    refused(lambda: ledger.enroll_robot(replace(ROBOT, site="elsewhere"), "two", "operator"))
    refused(lambda: ledger.enroll_robot(replace(ROBOT, id="arm-2"), "one", "operator"))
    refused(lambda: ledger.enroll_robot(replace(ROBOT, id="arm-2", revoked=True), "three", "operator"))
    refused(lambda: ledger.revoke_robot("arm-9", "operator", 1.0))
    assert ledger.robots() == (ROBOT,)
    assert kinds(ledger) == ["robot.enrolled"], "what was refused left an audit row"


@pytest.mark.parametrize("name", ["", "arm 1", "../arm", "arm\n1", "\u0430rm-1", "<b>arm", "a" * 101, "arm\udcff"])
def test_a_robot_has_a_plain_name(ledger: Ledger, name: str) -> None:
    refused(lambda: ledger.enroll_robot(replace(ROBOT, id=name), "key", "operator"))
    assert ledger.robots() == ()


def test_a_revoked_robot_can_be_enrolled_with_a_new_key(ledger: Ledger) -> None:
    ledger.enroll_robot(ROBOT, "old", "operator")
    ledger.revoke_robot(ROBOT.id, "operator", 20.0)
    ledger.enroll_robot(replace(ROBOT, enrolled_at=30.0), "new", "operator")
    assert ledger.robot_by_key("old") is None
    assert ledger.robot_by_key("new") == replace(ROBOT, enrolled_at=30.0)


def test_a_policy_changes_only_its_status(ledger: Ledger) -> None:
    ledger.put_policy(POLICY, "trainer", 1.0)
    ledger.put_policy(POLICY, "trainer", 2.0)
    released = replace(POLICY, status="released")
    ledger.put_policy(released, "releaser", 3.0)
    refused(lambda: ledger.put_policy(replace(released, manifest='{"other":1}'), "trainer", 4.0))
    refused(lambda: ledger.put_policy(replace(POLICY, digest="e" * 64), "trainer", 5.0))
    ledger.put_policy(replace(POLICY, digest="e" * 64, version=2), "trainer", 6.0)
    assert ledger.policy(POLICY.digest) == released
    assert ledger.policy("0" * 64) is None
    assert [policy.version for policy in ledger.policies()] == [1, 2]
    assert kinds(ledger) == ["policy.put"] * 3


def test_one_rollout_at_a_time(ledger: Ledger) -> None:
    assert ledger.active_rollout() is None
    created = start(ledger)
    assert ledger.active_rollout() == ledger.rollout(ROLLOUT) == created
    refused(lambda: ledger.create_rollout("rollout-2", "{}", "{}", event(2.0)))
    ended = ledger.advance_rollout(ROLLOUT, 0, '{"stage":"done"}', event(3.0), ended=True)
    assert (ended.revision, ended.active, ended.document) == (1, False, created.document)
    assert ledger.active_rollout() is None
    refused(lambda: step(ledger, 1))
    refused(lambda: start(ledger))
    assert ledger.create_rollout("rollout-2", "{}", "{}", event(4.0)).active
    assert ledger.rollout(ROLLOUT) == ended
    assert ledger.rollout("rollout-3") is None


def test_a_stale_step_is_refused_and_leaves_no_audit_row(ledger: Ledger) -> None:
    start(ledger)
    advanced = step(ledger, 0)
    assert "revision 0" in refused(lambda: step(ledger, 0))
    refused(lambda: step(ledger, 7))
    assert ledger.rollout(ROLLOUT) == advanced
    assert len(kinds(ledger)) == 2


def test_a_step_puts_its_policy_in_place_only_where_the_old_one_is_and_only_when_it_is_taken(ledger: Ledger) -> None:
    here, there = REPLACEMENT.embodiments
    ledger.set_current(here, REPLACEMENT.old, "operator", 1.0)
    ledger.set_current(there, "three", "operator", 1.0)
    start(ledger)
    refused(lambda: step(ledger, 7))
    assert ledger.current(here) == REPLACEMENT.old
    step(ledger, 0)
    assert ledger.current_policies() == {here: REPLACEMENT.new, there: "three"}
    assert kinds(ledger)[-2:] == ["rollout.step", "policy.current"]


def test_of_many_writers_one_takes_each_step(ledger: Ledger) -> None:
    start(ledger)

    def race(name: int) -> list[int]:
        won = []
        with Ledger(ledger.url) as own:
            for revision in range(5):
                try:
                    own.advance_rollout(ROLLOUT, revision, f'{{"by":{name}}}', event(2.0))
                    won.append(revision)
                except LedgerError as error:
                    if error.code is not Code.LEDGER_STATE:
                        raise
                while (current := own.rollout(ROLLOUT)) is not None and current.revision <= revision:
                    pass
        return won

    with ThreadPoolExecutor(6) as pool:
        wins = sorted(revision for won in pool.map(race, range(6)) for revision in won)
    assert wins == [0, 1, 2, 3, 4]
    assert len(kinds(ledger)) == 6


def test_audit_appends_from_many_threads_form_one_chain(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda number: ledger.record("k", "a", {"n": number}, number / 7), range(60)))
    assert sorted(row.sequence for row in rows) == list(range(1, 61))
    assert sorted(ledger.audit(), key=lambda row: row.at) == rows
    assert len(kinds(ledger)) == 60


def test_what_is_told_again_is_one_row(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: ledger.record_once("k", "a", {"n": number % 3}, float(number)), range(24)))
    ledger.record_once("other", "a", {"n": 0}, 99.0)
    rows = list(ledger.audit())
    assert sorted((row.kind, row.payload) for row in rows) == [
        *(("k", f'{{"n":{number}}}') for number in range(3)),
        ("other", '{"n":0}'),
    ]
    verify(rows)


def test_a_long_chain_is_read_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        ledger.record("k", "a", {"n": number}, number)
    monkeypatch.setattr("volano.ledger.ledger._PAGE", 3)
    assert [row.sequence for row in ledger.audit()] == list(range(1, 10))


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("UPDATE audit SET payload = '{\"n\":99}' WHERE sequence = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 3", 3),
        ("UPDATE audit SET actor = 'other' WHERE sequence = 1", 1),
        ("DELETE FROM audit WHERE sequence = 2", 2),
        ("UPDATE audit SET digest = previous WHERE sequence = 4", 4),
    ],
)
def test_tampering_is_found(ledger: Ledger, statement: str, sequence: int) -> None:
    for number in range(5):
        ledger.record("k", "a", {"n": number}, number)
    change(ledger, statement)
    assert f"sequence {sequence}:" in refused(lambda: verify(ledger.audit()), Code.LEDGER_CHAIN)


def test_an_unwritable_payload_changes_nothing(ledger: Ledger) -> None:
    start(ledger)
    with pytest.raises(ValueError, match="JSON"):
        ledger.advance_rollout(ROLLOUT, 0, "{}", replace(event(2.0), payload={"loss": float("nan")}))
    assert ledger.rollout(ROLLOUT) is not None
    current = ledger.rollout(ROLLOUT)
    assert current is not None
    assert current.revision == 0
    assert len(kinds(ledger)) == 1


def test_a_commit_is_on_the_disk(ledger: Ledger, path: Path) -> None:
    assert path.is_file()
    with ledger.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 15_000


def test_grants_of_many_threads_stay_within_a_robots_day(ledger: Ledger) -> None:
    def grant(number: int) -> bool:
        return ledger.grant_upload("rover-01", f"manifest-{number}", 100, 450, 1e6)

    with ThreadPoolExecutor(8) as threads:
        granted = list(threads.map(grant, range(8)))
    assert granted.count(True) == 4
    assert [grant(number) for number in range(8)] == granted, "what was granted stays so, and counts once"
    assert ledger.grant_upload("rover-02", "manifest-0", 450, 450, 1e6)
    assert not ledger.grant_upload("rover-01", "later", 100, 450, 1e6 + 86_000)
    assert ledger.grant_upload("rover-01", "later", 100, 450, 1e6 + 86_401)


def test_migrations_make_the_tables_as_mapped(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == database.HEAD


def test_opening_again_keeps_everything(ledger: Ledger) -> None:
    ledger.enroll_robot(ROBOT, "key", "operator")
    with open_ledger(ledger.url) as again:
        assert again.robots() == (ROBOT,)


def test_a_newer_ledger_is_refused(ledger: Ledger) -> None:
    change(ledger, "UPDATE alembic_version SET version_num = '9999'")
    assert "9999" in refused(lambda: open_ledger(ledger.url))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "mysql://host/name",
        "sqlite:////proc/none/ledger.db",
        "postgresql://robot:secret@127.0.0.1:1/ledger",
    ],
)
def test_what_is_no_ledger_is_refused(url: str) -> None:
    assert "secret" not in refused(lambda: open_ledger(url), Code.LEDGER_UNAVAILABLE)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 500)
    refused(lambda: open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), Code.LEDGER_UNAVAILABLE)


def test_a_ledger_locked_for_too_long_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    with open_ledger(url) as ledger, Ledger(url) as other:
        with database.writing(other.engine).begin():
            assert "lock" in refused(lambda: ledger.record("k", "a", {}, 1.0), Code.LEDGER_UNAVAILABLE)
            assert list(ledger.audit()) == [], "readers are not blocked"
        ledger.record("k", "a", {}, 1.0)


def test_a_full_disk_is_named_and_harms_nothing(ledger: Ledger, path: Path) -> None:
    assert path.is_file()
    ledger.record("k", "a", {"n": 0}, 0.0)
    script = (
        "import resource, sys\nfrom volano.errors import LedgerError\nfrom volano.ledger.ledger import open_ledger\n"
        "ledger = open_ledger(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n    ledger.record('big', 'a', {'n': 'x' * 200000}, 1.0)\n"
        "except LedgerError as error:\n    sys.exit(str(error.code))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, ledger.url], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == Code.LEDGER_UNAVAILABLE
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert kinds(ledger) == ["k"]
    ledger.record("big", "a", {"n": "x" * 200_000}, 1.0)
    assert kinds(ledger) == ["k", "big"]


def test_a_kill_at_any_statement_of_the_migration_is_repaired_by_opening(new_url: Callable[[], str]) -> None:
    kills = 0
    for position in range(1, 60):
        url = new_url()
        if not killed(dying(url, "open", position, "after" if position % 2 else "before")):
            break
        kills += 1
        with open_ledger(url) as ledger:
            start(ledger)
            assert kinds(ledger) == ["rollout.step"]
    assert kills > 15


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_statement_leaves_a_step_its_policy_and_their_audit_rows_together(
    new_url: Callable[[], str], when: str
) -> None:
    kills = {0: 0, 1: 0}
    for position in range(1, 30):
        url = new_url()
        with open_ledger(url) as ledger:
            start(ledger)
            ledger.set_current(ROBOT.fingerprint, REPLACEMENT.old, "test", 1.0)
            if not killed(dying(url, "step", position, when)):
                break
            current = ledger.rollout(ROLLOUT)
            assert current is not None
            kills[current.revision] += 1
            assert len(kinds(ledger)) == 2 + 2 * current.revision
            assert ledger.current(ROBOT.fingerprint) == (REPLACEMENT.new if current.revision else REPLACEMENT.old)
            step(ledger, current.revision)
    assert kills[0] >= 4
    assert kills[1] >= (when == "after"), "no kill fell behind the commit"


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite waits for nobody while a file goes over to write-ahead: one in twenty was told that it is locked."""
    command = [sys.executable, "-m", "tests.unit.ledger.openers", str(tmp_path), "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_two_processes_make_one_ledger(new_url: Callable[[], str]) -> None:
    for _ in range(2):
        url = new_url()
        processes = [dying(url, "open", 0, "before") for _ in range(3)]
        assert not any(list(map(killed, processes)))
        with open_ledger(url) as ledger:
            assert kinds(ledger) == []
