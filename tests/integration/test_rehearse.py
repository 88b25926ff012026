"""A rollout in small, by its command: two policies that learned nothing, real robots' code, a real gateway and Ray."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobs.rehearse import ROLLOUT, UNDECIDED
from tests.integration.fleets import ROOT, environment
from tests.unit.model.tiny import tiny_policy
from volano.flywheel import reconcile
from volano.ledger.ledger import open_ledger
from volano.model.folder import save
from volano.rollout.state import Shadow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("miniworld") is None, reason="needs the extra `sim`"),
]


def rehearse(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.rehearse", *arguments]
    return subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)


def test_two_policies_meet_on_four_robots_and_every_verdict_can_be_made_again(tmp_path: Path) -> None:
    for seed, name in enumerate(("current", "candidate")):
        (tmp_path / name).mkdir()
        save(tiny_policy(seed), tmp_path / name)
    folders = str(tmp_path / "current"), str(tmp_path / "candidate")

    refused = rehearse(*folders, "--home", str(tmp_path / "no"), "--robot", "zeppelin")
    assert "E-CONFIG-003" in refused.stderr, refused.stderr
    assert not (tmp_path / "no").exists()

    done = rehearse(*folders, "--home", str(tmp_path / "home"), "--robot", "car", "--waves", "2", "--episodes", "2")
    assert done.returncode in (0, UNDECIDED), done.stderr
    assert "volano rollout page" in done.stderr
    with open_ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}") as ledger:
        found, pairs = reconcile.status(ledger, ROLLOUT), reconcile.replay(ledger, ROLLOUT)
        robots = {robot.id for robot in ledger.robots()}
        assigned = ledger.assignments(ROLLOUT)
    assert robots == {f"car-0{number}" for number in range(1, 5)}
    assert len(assigned) == 4 * (2 + 2), "two shadowed episodes of each robot, then two that are measured"
    assert not isinstance(found.state, Shadow)
    assert {outcome.arm for outcome in found.evidence.outcomes.values()} == {"A", "B"}
    assert all(written == made for written, made in pairs)
    assert len(pairs) == 2
    assert json.loads((tmp_path / "home" / "plan.json").read_text())["robots"] == sorted(robots)
