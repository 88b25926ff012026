"""One robot and a gateway that is late, gone, or comes back: it stands still, records so, and goes on by itself."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from jobs.fleet.attempt import run_attempt
from jobs.fleet.enroll import enroll
from jobs.fleet.identity import read_key
from jobs.fleet.plan import Attempt
from jobs.fleet.takeover import PATIENCE_S
from serving.routes import RobotRecord
from tests.integration.fleets import attempts, run_fleet, write_plan
from tests.integration.gateways import (
    ACTING,
    SLOW,
    Controllers,
    Directory,
    Running,
    eventually,
    hashed,
    running_gateway,
)
from volano.data.bundle import read_manifest
from volano.data.episode import STEPS_FILE, Manifest, Segment
from volano.data.steps import Steps, read_steps
from volano.data.validate import check_bundle
from volano.embodiment.shipped import SCOUT
from volano.evaluate.simulators.build import build
from volano.inference.client import RobotClient
from volano.ledger.ledger import open_ledger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("miniworld") is None, reason="needs the extra `sim`"),
]
KEY = "key-of-scout-01"
TAKEN_OVER = round(PATIENCE_S["navigation"] * SCOUT.rate_hz)


def directory(policy: str) -> Directory:
    robot = RobotRecord(id="scout-01", embodiment=SCOUT)
    return Directory(robots={hashed(KEY): robot}, policies={"red": policy})


@contextmanager
def connected(url: str, timeout_s: float) -> Iterator[RobotClient]:
    with closing(RobotClient(url, KEY, SCOUT, "scout-01", timeout_s)) as client:
        yield client


def drive(client: RobotClient, folder: Path, *, pace: float = 1.0) -> tuple[Manifest, Steps]:
    """One attempt at the red box; `pace` 0 does not wait while there is no answer."""
    attempt = Attempt(name="attempt-1", robot="scout-01", task="red", seed=3, mode="policy", noise=0.0)
    with closing(build("scout")) as simulator:
        bundle = run_attempt(simulator, attempt, client, folder, now=1.7e9, sleep=lambda s: time.sleep(pace * s))
    manifest = read_manifest(bundle)
    assert check_bundle(bundle, manifest, SCOUT) is None
    return manifest, read_steps(bundle / STEPS_FILE, SCOUT, frames=manifest.frames)


def phases(steps: Steps) -> list[str]:
    """What was executed, one word for each stretch."""
    return [kind for kind, _ in groupby(steps.executed)]


def test_a_failing_attempt_is_taken_over_and_holds_both_segments(tmp_path: Path) -> None:
    with running_gateway(directory(ACTING)) as running, connected(running.url, 5.0) as client:
        manifest, steps = drive(client, tmp_path)
    assert phases(steps) == ["policy", "expert"]
    assert manifest.segments == (
        Segment(start=0, end=TAKEN_OVER, kind="autonomous"),
        Segment(start=TAKEN_OVER, end=manifest.frames, kind="intervention"),
    )
    assert (manifest.outcome.success, manifest.outcome.autonomous) == (True, False)
    assert (manifest.policies, manifest.rollout, manifest.arm) == ((ACTING,), "rollout-1", "canary")
    asked = {access.request for access in running.access}
    assert set(steps.request) == {*asked, ""}
    assert len(asked) == TAKEN_OVER // SCOUT.execute, (
        "a chunk is executed to its last tick before the next is asked for"
    )
    assert {access.episode for access in running.access} == {"attempt-1"}


def test_a_server_that_is_always_late_moves_no_robot(tmp_path: Path) -> None:
    late = Controllers(slow_s=1.0)
    with running_gateway(directory(SLOW), late, timeout_s=5.0) as running, connected(running.url, 0.1) as client:
        manifest, steps = drive(client, tmp_path, pace=0.0)
        assert client.problem
    assert phases(steps) == ["fallback", "expert"]
    assert not np.any(steps.state[:TAKEN_OVER]), "the robot moved without an answer"
    assert not np.any(steps.action[:TAKEN_OVER])
    assert (manifest.policies, manifest.rollout, manifest.arm) == ((), "", "")
    assert not manifest.outcome.autonomous


def test_a_gateway_that_never_was_there_stops_no_episode(tmp_path: Path) -> None:
    with connected("ws://127.0.0.1:9", 0.1) as client:
        manifest, steps = drive(client, tmp_path, pace=0.0)
    assert phases(steps) == ["fallback", "expert"]
    assert manifest.outcome.success


def test_a_gateway_restarted_within_an_episode_goes_on_acting(tmp_path: Path) -> None:
    thinking = Controllers(slow_s=0.2)
    again: list[Running] = []
    driven = threading.Event()
    with running_gateway(directory(SLOW), thinking, timeout_s=5.0) as first, connected(first.url, 2.0) as client:

        def restart() -> None:
            if eventually(lambda: len(first.access) >= 3):
                first.stop()
                time.sleep(1.0)
                with running_gateway(directory(SLOW), thinking, timeout_s=5.0, port=first.port) as second:
                    again.append(second)
                    driven.wait(60)

        other = threading.Thread(target=restart, daemon=True)
        other.start()
        manifest, steps = drive(client, tmp_path)  # here: a picture can be drawn in the thread that drew others
        driven.set()
        other.join(30)
    assert phases(steps) == ["policy", "fallback", "policy", "expert"]
    still = [tick for tick, executed in enumerate(steps.executed) if executed == "fallback"]
    assert not np.any(steps.action[still])
    assert not np.any(steps.state[still[1] : still[-1] + 1]), "the robot moved without an answer"
    assert {access.episode for one in (first, *again) for access in one.access} == {"attempt-1"}
    assert again[0].access, "the second gateway was asked, too"
    assert manifest.policies == (SLOW,)


def test_a_fleet_in_policy_mode_identifies_each_robot_by_its_own_key(tmp_path: Path) -> None:
    robots = ("scout-01", "scout-02")
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        enroll(ledger, tmp_path / "robots", robots, 1.0)
    known = {hashed(read_key(tmp_path / "robots" / one)): RobotRecord(id=one, embodiment=SCOUT) for one in robots}
    wanted = [one for robot in robots for one in attempts(robot, 2, tasks=["red"], mode="policy")]
    plan = write_plan(tmp_path, wanted, {})
    status, said = run_fleet(tmp_path, plan)
    assert (status, "--gateway" in said) == (2, True)
    with running_gateway(Directory(robots=known)) as running:
        status, said = run_fleet(tmp_path, plan, "--gateway", running.url, "--timeout-s", "10")
    assert status == 0, said
    asked = {(access.robot, access.episode) for access in running.access}
    assert asked == {(one["robot"], one["name"]) for one in wanted}
    assert {access.outcome for access in running.access} == {"answered"}
