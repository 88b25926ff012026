"""A rollout from the terminal: begun from a file, looked at, shown, and its verdicts proved."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from tests.unit.flywheel.season import CANDIDATE, CURRENT, PLAN, SCOUTS, day, equip, manifest_of
from volano.cli import app
from volano.errors import Code, LedgerError, RolloutError
from volano.ledger.ledger import open_ledger
from volano.storage.folder import FolderStore


class Home:
    """A ledger, a store and a shadow journal on disk, as an operator finds them."""

    def __init__(self, folder: Path) -> None:
        self.ledger = f"sqlite:///{folder / 'ledger.db'}"
        self.store = folder / "store"
        self.store.mkdir()
        self.journal = folder / "shadow.jsonl"
        self.journal.touch()
        self.document = folder / "rollout.json"
        self.document.write_text(json.dumps(PLAN.to_json()))
        with open_ledger(self.ledger) as ledger:
            equip(ledger)

    def volano(self, verb: str, *arguments: str) -> str:
        """What the command says; its error when it fails."""
        options = ["--ledger", self.ledger]
        if verb == "look":
            options += ["--store", str(self.store), "--shadow", str(self.journal), "--missing-after", "0"]
        done = CliRunner().invoke(app, ["rollout", verb, *arguments, *options])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return f"{done.output}exit {done.exit_code}"

    def turn(self, number: int, random: Random) -> None:
        """One day of the fleet, with a candidate that is much better."""
        with open_ledger(self.ledger) as ledger:
            lines = day(ledger, FolderStore(self.store), number, {CURRENT: 0.2, CANDIDATE: 0.95}, random)
        with self.journal.open("a") as journal:
            journal.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_rollout_is_begun_once_looked_at_until_it_ends_and_proved(home: Home) -> None:
    for _ in range(2):
        begun = home.volano("start", str(home.document), "--actor", "ada")
        assert f"started: {PLAN.id}" in begun
        assert "exit 0" in begun
    assert "nobody looked yet" in home.volano("status", PLAN.id)
    random, said = Random(7), ""
    for number in range(30):
        home.turn(number, random)
        said = home.volano("look", PLAN.id)
        if "promoted" in said:
            break
    assert "last verdict: promote" in said
    assert f"next: volano rollout replay {PLAN.id}" in said
    assert home.volano("status", PLAN.id) == said
    assert f"all {number + 1} verdicts are what their inputs make" in home.volano("replay", PLAN.id)
    shown = json.loads(home.volano("status", PLAN.id, "--json").removesuffix("exit 0"))
    assert shown["state"]["kind"] == "promoted"
    with open_ledger(home.ledger) as ledger:
        assert set(ledger.current_policies().values()) == {CANDIDATE}
        assert [row.actor for row in ledger.audit() if row.kind == "rollout.started"] == ["ada"]


def test_a_changed_verdict_is_found(home: Home) -> None:
    home.volano("start", str(home.document))
    home.turn(0, Random(1))
    assert "exit 0" in home.volano("look", PLAN.id)
    with sqlite3.connect(home.ledger.removeprefix("sqlite:///")) as database:
        database.execute("""UPDATE audit SET payload = replace(payload, '"kind":"advance"', '"kind":"promote"')""")
    changed = home.volano("replay", PLAN.id)
    assert "verdict 1 of 1 is not what its inputs make" in changed
    assert changed.endswith("exit 5")
    assert json.loads(home.volano("replay", PLAN.id, "--json").removesuffix("exit 5"))["different"] == [1]


@pytest.mark.parametrize("text", ["", "{", '{"id": "rollout-1"}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_a_document_that_is_none_is_refused(home: Home, text: str) -> None:
    home.document.write_text(text)
    with pytest.raises(RolloutError) as refused:
        home.volano("start", str(home.document))
    assert refused.value.code is Code.ROLLOUT_PLAN


def test_what_may_not_begin_is_refused_and_leaves_no_trace(home: Home) -> None:
    unknown = replace(PLAN, candidate=manifest_of("unknown", *PLAN.embodiments).digest)
    home.document.write_text(json.dumps(unknown.to_json()))
    with pytest.raises(RolloutError, match="never released"):
        home.volano("start", str(home.document))
    with pytest.raises(RolloutError, match="no rollout"):
        home.volano("status", PLAN.id)
    home.document.write_text(json.dumps(PLAN.to_json()))
    home.volano("start", str(home.document))
    home.document.write_text(json.dumps(replace(PLAN, id="rollout-2").to_json()))
    with pytest.raises(LedgerError, match="'rollout-1' is active"):
        home.volano("start", str(home.document))


def test_a_document_is_drafted_from_what_was_released_and_begins_as_it_is(home: Home) -> None:
    drafted = home.volano("new", "rollout-9", CANDIDATE[:10], "--robot", "scout")
    document = json.JSONDecoder().raw_decode(drafted)[0]
    assert (document["current"], document["candidate"], document["embodiments"]) == (CURRENT, CANDIDATE, [SCOUTS])
    home.document.write_text(json.dumps(document))
    assert "started: rollout-9" in home.volano("start", str(home.document))
    assert json.loads(home.volano("ls", "--json").removesuffix("exit 0")) == [
        {"id": "rollout-9", "active": True, "state": "shadow"}
    ]


@pytest.mark.parametrize(
    ("candidate", "robots", "said"),
    [
        ("nothing", (), "0 released policies begin"),
        (CANDIDATE, ("--robot", "unicorn"), "does not serve 'unicorn'"),
    ],
)
def test_a_draft_without_a_policy_or_a_robot_is_refused(
    home: Home, candidate: str, robots: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RolloutError, match=said):
        home.volano("new", "rollout-9", candidate, *robots)


def test_a_person_ends_a_rollout_and_the_next_one_may_begin(home: Home) -> None:
    home.volano("start", str(home.document))
    home.turn(0, Random(1))
    home.volano("look", PLAN.id)
    ended = home.volano("rollback", PLAN.id, "--reason", "the lab is closed", "--actor", "ada")
    assert f"rolled back by ada: {PLAN.id}" in ended
    assert "last verdict: rollback: ada decided to rollback" in home.volano("status", PLAN.id)
    assert "all 1 verdicts are what their inputs make" in home.volano("replay", PLAN.id)
    with pytest.raises(RolloutError, match="cannot rollback by hand"):
        home.volano("rollback", PLAN.id, "--reason", "again")
    with pytest.raises(RolloutError, match="cannot promote by hand"):
        home.volano("promote", PLAN.id, "--reason", "after all")
    home.document.write_text(json.dumps(replace(PLAN, id="rollout-2").to_json()))
    assert "started: rollout-2" in home.volano("start", str(home.document))
    with open_ledger(home.ledger) as ledger:
        (row,) = [row for row in ledger.audit() if row.kind == "rollout.decided"]
    assert json.loads(row.payload)["event"]["reason"] == "the lab is closed"
