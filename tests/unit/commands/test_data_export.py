"""`volano data export` says first what it will do, then what it did, and how its reader opens it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.data.exports.versions import Made, make
from tests.unit.test_cli import run
from volano.cli import app


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"), ("alone", "helped", "failed"))


def volano(made: Made, *arguments: str) -> str:
    store = ("--store", str(made.store.root), "--version", made.version.id)
    done = CliRunner().invoke(app, ["data", "export", *store, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_plan_writes_nothing_and_says_what_the_command_does(made: Made, tmp_path: Path) -> None:
    output = tmp_path / "out put"
    asked = ("--output", str(output), "--for", "gr00t")
    planned = volano(made, *asked, "--plan")
    assert "rover: 2 episodes, 47 ticks, 4 videos, of 3 attempts" in planned
    assert "1 whole, 1 cut to what an expert drove, 1 left out: no success, no expert" in planned
    assert "note: 1 are shorter than 8 ticks" in planned
    assert planned.endswith(f"nothing was written; it would be in {output}\nnext: the same without --plan\n")
    assert not list(tmp_path.iterdir())
    told = volano(made, *asked)
    assert told.splitlines()[:2] == planned.splitlines()[:2]
    assert "4 videos copied packet by packet, 0 encoded" in told
    assert f"it is in {output}, one folder per robot" in told
    assert f"next: --dataset-path '{output}'/rover --embodiment-tag NEW_EMBODIMENT, and" in told


def test_json_is_one_document(made: Made, tmp_path: Path) -> None:
    asked = ("--output", str(tmp_path / "out"), "--for", "openpi", "--json")
    planned, done = (json.loads(volano(made, *asked, *more)) for more in (("--plan",), ()))
    assert (planned["planned"], done["planned"]) == (True, False)
    [before], [after] = planned["robots"], done["robots"]
    assert {name: after[name] for name in before} == before
    assert (after["copied"], after["encoded"]) == (4, 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--for", "pickle"], "E-CONFIG-003"),
        (["--version", "0" * 64], "E-DATA-013"),
        (["--version", "../../etc/passwd"], "E-DATA-013"),
        (["--version", "\x1b[2J"], "E-DATA-013"),
        (["--store", "nowhere"], "E-STORE-004"),
        (["--output", "/proc/none/out"], "E-STORE-004"),
        (["--output", "{here}/" + "n" * 300], "E-STORE-004"),
        (["--output", "{here}"], "E-DATA-083"),
    ],
)
def test_what_cannot_be_is_refused_with_a_code(made: Made, tmp_path: Path, arguments: list[str], code: str) -> None:
    sound = {"--store": str(made.store.root), "--version": made.version.id, "--output": f"{tmp_path}/out"}
    option, value = arguments
    given = {"--for": "gr00t", **sound, option: value.format(here=tmp_path)}
    done = run("data", "export", *(word for pair in given.items() for word in pair))
    assert done.stderr.startswith(code), done.stderr
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
    assert not list(tmp_path.iterdir())
