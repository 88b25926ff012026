"""Uploads and versions from the terminal: what is held, let in, followed, compared and taken back."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.data.bundles import Draft
from tests.unit.data.quarantined import check, send_paused
from tests.unit.flywheel.stock import Stock, make
from volano.cli import app
from volano.data.build import accepted
from volano.data.catalogue import extend
from volano.data.conservation import count
from volano.data.judge import judge
from volano.data.lerobot_read import read
from volano.embodiment.shipped import SCOUT
from volano.errors import ConfigError, DataError, LedgerError
from volano.ledger.ledger import open_ledger

HELD = "uploads/scout-01/held.json"


class Home:
    """A store, a ledger and runs on disk, as an operator finds them."""

    def __init__(self, stock: Stock) -> None:
        self.stock = stock
        self.at = ("--store", str(stock.store.root))
        self.everything = (*self.at, "--ledger", stock.ledger, "--runs", str(stock.runs))

    def volano(self, *arguments: str) -> str:
        """What the command says; its error when it fails."""
        done = CliRunner().invoke(app, ["data", *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.volano(*arguments, "--json"))

    def objects(self) -> dict[str, bytes]:
        return {info.key: self.stock.store.get(info.key) for info in self.stock.store.list("")}

    def audit(self) -> list[tuple[str, str]]:
        with open_ledger(self.stock.ledger) as ledger:
            return [(row.kind, row.actor) for row in ledger.audit() if row.kind.startswith("data.")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The stock, and a scout's episode in quarantine for a long pause."""
    stock = make(tmp_path)
    draft = Draft(robot="scout-01", attempt="held", frames=4, first_number=60, embodiment=SCOUT)
    send_paused(stock.store, tmp_path / "held", draft)
    judge(stock.store, [HELD], {SCOUT.fingerprint: SCOUT}, check)
    return Home(stock)


def test_what_is_held_is_listed_shown_and_let_in(home: Home) -> None:
    told = home.volano("quarantine", "ls", *home.at)
    assert f"{HELD}  E-DATA-009 time stands still, jumps or has another rate" in told
    assert "a pause of 2." in told
    assert "1 in quarantine (E-DATA-009: 1)" in told
    assert f"next: volano data quarantine show scout-01/held --store {home.at[1]}" in told
    [held] = home.json("quarantine", "ls", "--code", "E-DATA-009", "--robot", "scout-01", *home.at)
    assert (held["upload"], held["overrulable"]) == (HELD, True)
    assert home.json("quarantine", "ls", "--code", "E-DATA-004", *home.at) == []
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        home.volano("quarantine", "ls", "--code", "E-DATA-9", *home.at)
    shown = home.volano("quarantine", "show", "scout-01/held", *home.at)
    assert "stands    quarantined" in shown
    assert "steps.parquet: blobs/" in shown
    assert "next: volano data quarantine readmit scout-01/held --plan" in shown
    found = home.json("quarantine", "show", HELD, *home.at)
    assert (found["stands"], found["remedy"]["overrulable"], found["manifest"]["frames"]) == ("quarantined", True, 4)


def test_a_plan_writes_nothing_and_a_readmission_stands_in_store_and_audit(home: Home) -> None:
    asked = ("quarantine", "readmit", "scout-01/held", "--reason", "it waited at a door", "--by", "ada")
    where = (*home.at, "--ledger", home.stock.ledger)
    before = home.objects()
    assert "would readmit, against E-DATA-009" in home.volano(*asked, *where, "--plan")
    assert (home.objects(), home.audit()) == (before, [])
    for _ in range(2):
        assert f"readmitted by ada, against E-DATA-009: {HELD}" in home.volano(*asked, *where)
    assert home.audit() == [("data.readmitted", "ada")]
    assert len(home.objects()) == len(before) + 2
    assert count(home.stock.store).accepted == len(accepted(home.stock.store)) == 6
    assert "0 in quarantine" in home.volano("quarantine", "ls", *home.at)
    shown = home.volano("quarantine", "show", "scout-01/held", *home.at)
    assert "readmitted  against E-DATA-009 by ada: it waited at a door" in shown
    with pytest.raises(DataError, match="E-DATA-070"):
        home.volano("quarantine", "readmit", "arm-06/attempt-0", "--reason", "why", *where)


def test_no_ledger_is_said_and_one_that_was_named_has_to_be_there(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("quarantine", "readmit", "scout-01/held", "--reason", "why", *home.at)
    with pytest.raises(LedgerError, match="E-LEDGER-003"):
        home.volano(*asked, "--ledger", f"sqlite:///{tmp_path / 'none.db'}")
    assert "no ledger, so no audit row" in home.volano(*asked)
    told = home.volano("lineage", "arm-07/attempt-4", *home.at)
    assert "what runs where is not known" in told
    assert "no folder of runs at" in home.volano("lineage", "arm-07/attempt-4", *home.at, "--runs", "nowhere")
    assert not (tmp_path / ".volano").exists()


def test_versions_are_compared_by_robot_and_reason(home: Home) -> None:
    stock = home.stock
    told = home.volano("diff", stock.first[:10], stock.second[:10], *home.at)
    assert "added            2  arm-07  more" in told
    assert "reweighted       3  arm-06  more" in told
    found = home.json("diff", stock.first, stock.second, *home.at)
    assert [one["upload"] for one in found["changes"] if one["kind"] == "added"] != []
    assert {one["after"] for one in found["changes"] if one["kind"] == "reweighted"} == {2.0}
    assert "no episode differs" in home.volano("diff", stock.first, stock.first, *home.at)


def test_statistics_are_shown_and_compared(home: Home) -> None:
    stock = home.stock
    told = home.volano("statistics", "--version", stock.second[:10], *home.at)
    assert "rover: 5 episodes, 20 rows, weight 32" in told
    assert "state yaw_rate" in told
    assert "camera rear" in told
    assert f"next: volano data statistics --version {stock.second} --against {stock.first}" in told
    found = home.json("statistics", "--version", stock.second, *home.at)
    speed = found["embodiments"]["rover"]["action"][0]
    assert (speed["name"], speed["unit"], speed["error"]) == ("speed", "m/s", pytest.approx(2 * 1.03125 / 4096 / 2))
    assert speed["low"] <= speed["quantiles"]["q01"] <= speed["mean"] <= speed["quantiles"]["q99"] <= speed["high"]
    assert found["shifts"] == {}
    compared = ("statistics", "--version", stock.second, "--against", stock.first)
    told = home.volano(*compared, *home.at)
    assert f"rover, over {stock.first[:12]}:" in told
    assert f"next: volano data diff {stock.first} {stock.second}" in told
    moved = home.json(*compared, *home.at)["shifts"]["rover"]["channels"]
    old = home.json("statistics", "--version", stock.first, *home.at)["embodiments"]["rover"]
    assert moved[2]["mean"] == pytest.approx(speed["mean"] - old["action"][0]["mean"])
    with pytest.raises(DataError, match="E-DATA-013"):
        home.volano("statistics", "--version", "0" * 64, *home.at)


def test_lineage_is_followed_both_ways(home: Home) -> None:
    stock = home.stock
    told = home.volano("lineage", "arm-07/attempt-4", *home.everything)
    assert "upload                uploads/arm-07/attempt-4.json" in told
    assert f"version {stock.second[:12]}  weight 1, more" in told
    assert f"policy    {stock.bad}  released, trained on {stock.second[:12]}" in told
    assert f"policy    {stock.heir}  released, goes on from {stock.bad[:12]}" in told
    assert "robot     arm-06  in place: " in told
    assert "2 runs, 2 policies, 2 robots" in told
    assert home.json("lineage", stock.contents[4], *home.everything)["upload"] == "uploads/arm-07/attempt-4.json"
    version = home.volano("lineage", stock.second, *home.everything)
    assert "episodes of arm-07" in version
    assert f"next: volano data diff {stock.first} {stock.second}" in version
    assert home.json("lineage", stock.first, *home.everything)["children"] == [stock.second]


def test_a_recall_tells_whom_it_concerns_and_is_made_once(home: Home) -> None:
    stock = home.stock
    asked = ("recall", "--robot", "arm-07", "--since", "2020-09-13T12:43:20", "--reason", "broken gripper")
    before = home.objects()
    planned = home.volano(*asked, *home.everything, "--plan")
    assert "would recall 2 episodes in 2 uploads" in planned
    assert "version to be made: 3 episodes, 2 fewer than its parent" in planned
    assert (home.objects(), home.audit()) == (before, [])
    told = home.volano(*asked, *home.everything)
    assert f"version   {stock.second}" in told
    assert "2 runs, 2 policies, 2 robots" in told
    assert f"volano rollout ls --ledger {stock.ledger}" in told
    after = home.objects()
    again = home.volano(*asked, *home.everything)
    assert "all of them before: nothing changes" in again
    assert home.objects() == after
    assert home.audit() == [("data.recalled", "operator")]
    found = home.json(*asked, *home.everything)
    assert (found["changes"], found["planned"], found["version"]) == (False, False, "")
    assert found["recall"]["contents"] == sorted(stock.contents[3:])
    assert [Path(one["folder"]).name for one in found["reached"]["runs"]] == ["bad", "heir"]
    child = home.json("versions", *home.at)[-1]
    assert (child["parent"], child["episodes"]) == (stock.second, 3)
    assert "removed          2  arm-07  recall " in home.volano("diff", stock.second, child["id"], *home.at)
    recalled = home.volano("lineage", "arm-07/attempt-4", *home.everything)
    assert "no later version holds it" in recalled


def test_a_recall_by_time_or_upload_means_just_those(home: Home) -> None:
    asked = ("recall", "--reason", "why", "--plan", *home.everything)
    found = home.json(*asked, "--since", "2020-09-13T13:43:23+01:00", "--until", "2020-09-13T12:43:24Z")
    assert found["uploads"] == ["uploads/arm-07/attempt-3.json"]
    found = home.json(*asked, "--upload", "arm-06/attempt-0", "--upload", "uploads/arm-07/attempt-4.json")
    assert len(found["uploads"]) == 2
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        home.volano(*asked, "--since", "yesterday")
    with pytest.raises(DataError, match="E-DATA-071"):
        home.volano(*asked)


def test_episodes_are_listed_and_counted_as_of_the_last_ingest(home: Home) -> None:
    assert home.json("ls", *home.at)["episodes"] == 0
    assert "next: what was judged since the last ingest is not listed" in home.volano("ls", *home.at)
    extend(home.stock.store)
    told = home.volano("ls", *home.at)
    assert "5 episodes of 2 robots, 20 frames" in told
    assert f"next: volano data lineage arm-06/attempt-0 --store {home.at[1]}" in told
    found = home.json("ls", "--robot", "arm-07", "--outcome", "success", "--since", "2020-09-13T12:43:24Z", *home.at)
    assert (found["episodes"], [one["attempt"] for one in found["listed"]]) == (1, ["attempt-4"])
    assert not found["listed"][0]["recalled"]
    home.volano("recall", "--robot", "arm-07", "--reason", "broken gripper", *home.everything)
    assert home.volano("ls", "--robot", "arm-07", *home.at).count("recalled") == 2
    few = home.volano("ls", "--limit", "2", *home.at)
    assert "... and 3 more: raise --limit" in few
    with pytest.raises(DataError, match="E-DATA-106"):
        home.volano("ls", "--outcome", "good", *home.at)


def test_a_version_is_copied_out_of_the_store_unless_it_holds_what_was_recalled(home: Home) -> None:
    output = home.stock.store.root.parent / "lerobot"
    asked = ("materialize", "--version", home.stock.second[:10], "--output", str(output), *home.at)
    assert f"root='{output}/rover'" in home.volano(*asked)
    assert len(list(read(output / "rover"))) == 5
    home.volano(*asked)
    home.volano("recall", "--robot", "arm-07", "--reason", "broken gripper", *home.everything)
    with pytest.raises(DataError, match="E-DATA-071"):
        home.volano(*asked)
