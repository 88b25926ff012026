"""A robot that checks for itself, over real HTTP: it learns what it is assigned, and the platform what it runs."""

import secrets
import time
from pathlib import Path

import pytest

from tests.integration.doors import ROBOTS, open_door
from tests.unit.registry.folders import LINEAGE, platform
from volano.embodiment.shipped import SCOUT
from volano.errors import PolicyError, StorageError, WireError
from volano.ledger.robot_keys import robot_keys, trust_robot
from volano.registry import repository
from volano.registry.agent import Agent, RobotAgent, papers_of
from volano.registry.ceremony import add_signature, draft, newest_root, publish_root
from volano.registry.confirmation import running
from volano.registry.director import Director
from volano.registry.manifest import Manifest
from volano.registry.report import sign_report
from volano.registry.signing import generate
from volano.storage.folder import FolderStore


def test_a_robot_learns_what_it_may_run_and_says_that_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "store").mkdir()
    store, now = FolderStore(tmp_path / "store"), time.time()
    home = platform(tmp_path, store, now)
    policy = home.release("one", now=now).digest
    robot, key = ROBOTS[0], generate(tmp_path / "robot", "report.key", "report.pub")
    with open_door(store, tmp_path) as door:
        agent = RobotAgent(
            papers_of(door.platform()),
            home.robot(),
            Agent(tmp_path / "accepted"),
            robot=robot,
            contract=SCOUT.fingerprint,
            report=lambda assigned, at: door.platform().report(sign_report(assigned, key, at)),
        )
        assert agent.problem(policy).startswith("E-POLICY-003"), "nothing is assigned"
        director = Director(store, home.keys.key("director"), lambda: secrets.token_hex(16))
        director.assign(home.look(now), policy, subject=robot, contract=SCOUT.fingerprint, now=now)
        assert agent.problem(policy) == ""
        assert "E-POLICY-010" in caplog.text, "nobody said which key is the robot's"
        assert agent.problem(policy) == ""
        public = key.public_key().public_bytes_raw().hex()
        trust_robot(door.ledger, robot, public, "ada", now)
        assert agent.look() == ""
        assert robot_keys(door.ledger) == {robot: public}
        [found] = running(store, home.look(now), {robot: key.public_key()})
        assert found.report is not None
        assert found.report.policy == policy
        paper = add_signature(draft(newest_root(store, home.trust), "online", home.keys, now), home.keys.key("root"))
        publish_root(store, home.keys, home.trust, paper, now)
        assert agent.look() == "", "it follows the next root"


def test_a_long_list_of_releases_reaches_a_robot(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store, now = FolderStore(tmp_path / "store"), time.time()
    home = platform(tmp_path, store, now)
    served = {f"robot-{number:05d}": "a" * 64 for number in range(20_000)}
    manifest = Manifest(files={}, embodiments=served, lineage=LINEAGE)
    repository.release(store, home.keys, home.trust, manifest, now)
    director = Director(store, home.keys.key("director"), lambda: secrets.token_hex(16))
    director.assign(home.look(now), manifest.digest, subject=ROBOTS[0], contract="a" * 64, now=now)
    with open_door(store, tmp_path) as door:
        found = door.platform().papers(1)
        assert len(found["targets"]) > 1 << 20


@pytest.mark.parametrize("root", ["", "0", "x", "99999999999999", "-1", "7"])
def test_papers_are_asked_for_by_a_number_and_with_a_key(tmp_path: Path, root: str) -> None:
    (tmp_path / "store").mkdir()
    store = FolderStore(tmp_path / "store")
    platform(tmp_path, store, time.time())
    with open_door(store, tmp_path) as door:
        with pytest.raises(PolicyError):
            door.platform().papers(root)  # type: ignore[arg-type]
        stranger = type(door.platform())(door.url, "nobody", timeout_s=20)
        for ask in (lambda: stranger.papers(1), lambda: stranger.report(b"{}")):
            with pytest.raises(WireError):
                ask()
        for envelope in (b"", b"{}", b"x" * 4096):
            with pytest.raises((PolicyError, WireError, StorageError)):
                door.platform().report(envelope)
