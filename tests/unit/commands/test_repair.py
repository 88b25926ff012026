"""The verb that repairs a robot's disk says what it did, plans without doing, and refuses what is no folder."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.data.recording import add, record, recorder
from volano.cli import app
from volano.data.bundle import MANIFEST_FILE
from volano.errors import DataError


def volano(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A robot's folder with a whole attempt and a torn one."""
    record(tmp_path, "whole")
    with suppress(ZeroDivisionError), recorder(tmp_path, "torn") as recording:
        for number in range(15):
            add(recording, number)
        raise ZeroDivisionError
    return tmp_path


def test_a_plan_says_what_a_repair_does_then(disk: Path) -> None:
    said = volano("data", "repair", str(disk), "--plan")
    assert "torn: torn, 15 ticks kept, 0 ticks and 0 bytes dropped" in said
    assert f"next: volano data repair {disk}" in said
    assert not (disk / "torn" / MANIFEST_FILE).exists()
    said = volano("data", "repair", str(disk))
    assert "torn: repaired, 15 ticks kept" in said
    assert "1 repaired, 1 whole" in said
    assert (disk / "torn" / MANIFEST_FILE).exists()


def test_json_has_one_entry_for_each_attempt(disk: Path) -> None:
    torn, whole = json.loads(volano("data", "repair", str(disk), "--json"))
    assert (torn["attempt"], torn["status"], torn["kept"], torn["dropped"]) == ("torn", "repaired", 15, 0)
    assert (whole["attempt"], whole["status"]) == ("whole", "whole")


def test_a_safety_stop_is_told_and_kept(disk: Path) -> None:
    said = volano("data", "repair", str(disk), "--plan", "--stopped", "torn")
    assert "torn: torn, 15 ticks kept, 0 ticks and 0 bytes dropped, ended by safety stops: 1" in said
    assert f"next: volano data repair {disk} --stopped torn" in said
    said = volano("data", "repair", str(disk), "--stopped", "torn")
    assert "torn: repaired, 15 ticks kept, 0 ticks and 0 bytes dropped, ended by safety stops: 1" in said
    assert json.loads((disk / "torn" / MANIFEST_FILE).read_bytes())["outcome"]["safety_stops"] == 1
    assert "1 repaired, 1 whole" in volano("data", "repair", str(disk), "--stopped", "torn")
    for stopped in (("torn", "torn"), ("nothing",), ("whole",)):
        for plan in ((), ("--plan",)):
            options = [word for name in stopped for word in ("--stopped", name)]
            with pytest.raises(DataError, match="only a torn one"):
                volano("data", "repair", str(disk), *options, *plan)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        volano("data", "repair", str(tmp_path / "nothing"))


def test_a_folder_s_name_is_no_command_to_the_terminal(disk: Path) -> None:
    (disk / "torn").rename(disk / "\x1b[2J\n1 whole")
    said = volano("data", "repair", str(disk), "--plan")
    assert "'\\x1b[2J\\n1 whole': torn, 15 ticks kept" in said
    assert said.replace("\n", "").isprintable()
