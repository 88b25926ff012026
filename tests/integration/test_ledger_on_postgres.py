"""The ledger's own tests, every one of them that is not about SQLite's file, on a real Postgres."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.fleets import ROOT, environment
from tests.integration.postgres import server
from tests.unit.ledger.conftest import SERVER
from volano.ledger.ledger import open_ledger


def test_the_tests_of_the_ledger_pass_on_postgres() -> None:
    with server() as running:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/unit/ledger", "-rs", "-p", "no:cacheprovider"],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment(), SERVER: running.url},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = {what: int(number) for number, what in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    assert counted["passed"] >= 50, done.stdout
    assert counted.get("skipped", 0) <= 3, done.stdout


def test_commands_and_a_server_that_was_started_again(tmp_path: Path) -> None:
    with server() as running:
        variables = {**os.environ, **environment(), "VOLANO_LEDGER": running.url}

        def say(*words: str) -> str:
            command = [str(Path(sys.executable).with_name("volano")), *words]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=variables)
            return done.stdout

        say("robot", "enroll", "arm-1", "sawyer", "--key", "arm-1.key", "--by", "operator")
        with open_ledger(running.url) as ledger:
            assert [robot.id for robot in ledger.robots()] == ["arm-1"]
            running.restart()
            ledger.record("note", "operator", {}, 1.0)
            assert [robot.id for robot in ledger.robots()] == ["arm-1"]
        assert "2 rows" in say("audit", "verify")
