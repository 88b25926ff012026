"""`volano stop` where nobody is meant: the order is given, and the operator hears that the name may be a slip."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.ledger.samples import ROBOT
from volano.cli import app
from volano.errors import ConfigError
from volano.ledger.ledger import open_ledger

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.enroll_robot(ROBOT, "key", "operator")
    return tmp_path


@pytest.mark.parametrize(
    ("whom", "doubted"),
    [
        (["--robot", ROBOT.id], False),
        (["--robot", "arm-11"], True),
        (["--cohort", f"site={ROBOT.site},embodiment={ROBOT.embodiment}"], False),
        (["--cohort", "site=elsewhere"], True),
        (["--all"], False),
    ],
)
def test_a_stop_that_means_no_enrolled_robot_is_given_and_doubted(home: Path, whom: list[str], doubted: bool) -> None:
    done = RUNNER.invoke(app, ["stop", *whom, "--home", str(home), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["doubt"].startswith("no gateway runs from")
    assert ("no enrolled robot" in said["doubt"]) is doubted
    assert Path(said["register"]).is_file()
    told = RUNNER.invoke(app, ["stop", *whom, "--home", str(home)])
    assert "CAREFUL: no gateway runs from" in told.stdout
    assert ("no enrolled robot" in told.stdout) is doubted


@pytest.mark.parametrize("cohort", ["foo=bar", "site", "site=a,site=b", "site=../etc"])
def test_a_cohort_that_is_none_is_a_slip_of_the_command_line(home: Path, cohort: str) -> None:
    done = RUNNER.invoke(app, ["stop", "--cohort", cohort, "--home", str(home)])
    assert isinstance(done.exception, ConfigError)
    assert "--cohort site=" in done.exception.fix


@pytest.mark.parametrize("ledger", [None, b"no database" * 500])
def test_a_stop_needs_no_ledger(tmp_path: Path, ledger: bytes | None) -> None:
    if ledger is not None:
        (tmp_path / "ledger.db").write_bytes(ledger)
    done = RUNNER.invoke(app, ["stop", "--robot", "arm-11", "--home", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    doubt = json.loads(done.stdout)["doubt"]
    assert doubt == f"no gateway runs from {tmp_path}: one that starts there obeys, no other hears of it; see --home"
