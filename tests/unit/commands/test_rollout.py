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
from volano.flywheel import reconcile
from volano.ledger.ledger import open_ledger
from volano.ledger.records import Event
from volano.rollout.guardrail import Guardrail
from volano.rollout.plan import CanaryStep, HoldStep
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
        begun = home.volano("start", str(home.document), "--by", "ada")
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
    home.document.write_text(drafted.partition("next: ")[0])
    assert "started: rollout-9" in home.volano("start", str(home.document))
    with open_ledger(home.ledger) as ledger:
        record = ledger.active_rollout()
    assert record is not None
    document = json.loads(record.document)
    assert (document["current"], document["candidate"], document["embodiments"]) == (CURRENT, CANDIDATE, [SCOUTS])
    assert json.loads(home.volano("ls", "--json").removesuffix("exit 0")) == [
        {"id": "rollout-9", "active": True, "state": "shadow"}
    ]


def test_a_plan_names_the_robots_of_each_step_and_changes_nothing(home: Home) -> None:
    home.document.write_text(home.volano("new", "rollout-9", CANDIDATE[:10], "--robot", "scout").partition("next: ")[0])
    said = home.volano("plan", str(home.document))
    assert said == home.volano("start", str(home.document), "--plan")
    assert "4 promote: every robot of these embodiments runs the candidate, asked by the evidence\n   3 robots" in said
    steps = json.loads(home.volano("plan", str(home.document), "--json").removesuffix("exit 0"))
    assert [step["step"] for step in steps] == ["shadow", "canary", "ab_test", "promote"]
    assert steps[2]["exposed"] == ["scout-1", "scout-3", "scout-5"]
    with open_ledger(home.ledger) as ledger:
        assert ledger.rollouts() == ()
    home.document.write_text(home.document.read_text().replace(CANDIDATE, "e" * 64))
    with pytest.raises(RolloutError, match="not known"):
        home.volano("plan", str(home.document))


def test_a_hold_waits_for_a_person_and_the_decision_is_replayed(home: Home) -> None:
    held = replace(PLAN, steps=(HoldStep(seconds=0.0), *PLAN.steps[1:]))
    home.document.write_text(json.dumps(held.to_json()))
    home.volano("start", str(home.document))
    assert "last verdict: hold: until a person resumes" in home.volano("look", PLAN.id)
    assert "resumed by ada: rollout-1 is in canary now" in home.volano(
        "resume", PLAN.id, "--reason", "the gripper was changed", "--by", "ada"
    )
    home.turn(0, Random(1))
    home.volano("look", PLAN.id)
    assert "all 3 verdicts are what their inputs make" in home.volano("replay", PLAN.id)
    with pytest.raises(RolloutError, match="cannot resume by hand"):
        home.volano("resume", PLAN.id, "--reason", "again")


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
    ended = home.volano("rollback", PLAN.id, "--reason", "the lab is closed", "--by", "ada")
    assert f"rolled back by ada: {PLAN.id}" in ended
    assert "last verdict: rollback: ada decided to rollback" in home.volano("status", PLAN.id)
    assert "all 2 verdicts are what their inputs make" in home.volano("replay", PLAN.id)
    with pytest.raises(RolloutError, match="cannot rollback by hand"):
        home.volano("rollback", PLAN.id, "--reason", "again")
    with pytest.raises(RolloutError, match="cannot promote by hand"):
        home.volano("promote", PLAN.id, "--reason", "after all")
    home.document.write_text(json.dumps(replace(PLAN, id="rollout-2").to_json()))
    assert "started: rollout-2" in home.volano("start", str(home.document))
    with open_ledger(home.ledger) as ledger:
        (row,) = [row for row in ledger.audit() if row.kind == "rollout.decided"]
    assert json.loads(row.payload)["event"]["reason"] == "the lab is closed"


def test_the_journals_of_several_gateways_are_looked_at_as_one(home: Home) -> None:
    watched = Guardrail(name="late", metric="latency_ms", limit=50.0, most=200.0)
    steps = (CanaryStep(percent=100.0, min_episodes=1000), *PLAN.steps[2:])
    home.document.write_text(json.dumps(replace(PLAN, steps=steps, watch=(watched,)).to_json()))
    home.volano("start", str(home.document))
    home.turn(0, Random(1))
    with open_ledger(home.ledger) as ledger:
        given = ledger.assignments(PLAN.id)
    logs = [home.store.parent / name for name in ("one.jsonl", "two.jsonl", "two.1.jsonl")]
    for number, log in enumerate(logs):
        lines = [
            {"robot": one.robot, "episode": one.episode, "request": "1", "at": 1.0, "latency_s": 0.01}
            for one in given[number::3]
        ]
        log.write_text("".join(json.dumps({**line, "outcome": "answered"}) + "\n" for line in lines))
    home.volano("look", PLAN.id, "--shadow", str(home.journal), "--access", str(logs[0]), "--access", str(logs[1]))
    with open_ledger(home.ledger) as ledger:
        seen = reconcile.status(ledger, PLAN.id).evidence.outcomes.values()
    assert len(seen) == len(given) > 0
    assert all(one.measures["latency_ms"] == pytest.approx(10.0) for one in seen)


@pytest.mark.parametrize("document", ['{"id": "rollout-1"}', "torn"])
def test_a_rollout_whose_document_cannot_be_read_is_ended_and_the_next_one_may_begin(home: Home, document: str) -> None:
    with open_ledger(home.ledger) as ledger:
        event = Event(at=1.0, kind="rollout.started", actor="test", payload={"rollout": "rollout-0"})
        ledger.create_rollout("rollout-0", document, json.dumps({"kind": "shadow", "step": 0, "since": 1.0}), event)
    with pytest.raises(LedgerError, match="'rollout-0' is active"):
        home.volano("start", str(home.document))
    assert "ended by ada: rollout-0" in home.volano("rollback", "rollout-0", "--reason", "older", "--by", "ada")
    assert "started: rollout-1" in home.volano("start", str(home.document))
    with open_ledger(home.ledger) as ledger:
        assert set(ledger.current_policies().values()) == {CURRENT}
        (row,) = [row for row in ledger.audit() if row.kind == "rollout.abandoned"]
    assert json.loads(row.payload)["event"]["reason"] == "older"
    assert row.actor == "ada"
