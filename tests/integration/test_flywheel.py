"""A small flywheel on one machine, of which everything is killed with -9 once: the driver in two steps, the ingest job,
a training worker, the gateway. It ends with what its plan says, as if nobody had killed anything.

Its first policy has seen ten batches and is refused by the gate; so the second half serves it against a copy of itself.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.flywheel.__main__ import SMALL
from jobs.flywheel.children import Children
from jobs.flywheel.gateway import NAME, GatewayKeeper
from jobs.flywheel.home import Home
from jobs.flywheel.machine import cluster_environment, free_port, start_cluster
from jobs.flywheel.plan import demonstrations, practice, wave
from jobs.flywheel.steps import Steps
from tests.integration.fleets import ROOT, environment
from tests.integration.gateways import eventually
from volano.cluster import ADDRESS
from volano.data.build import accepted
from volano.data.conservation import count
from volano.data.verdict import UPLOADS, VERDICTS, Verdict
from volano.errors import Code, GateError, SystemMissingError
from volano.flywheel import reconcile
from volano.registry.manifest import MANIFEST
from volano.train.journal import read_journal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(find_spec(library) for library in ("metaworld", "miniworld", "highway_env")),
        reason="needs the extra `sim`",
    ),
]
_LONGEST_S = 900.0
_BROKEN = {Code.DATA_TRUNCATED_VIDEO: "scout-03", Code.DATA_NOT_FINITE: "car-03", Code.DATA_DUPLICATE: "glider-03"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Whatever is killed in it, nothing of it runs afterwards."""
    made = Home(tmp_path / "home")
    yield made
    Children(made.root / "processes", {}).sweep()


def test_a_flywheel_that_is_killed_everywhere_ends_as_its_plan_says(home: Home) -> None:
    with driver(home) as process:
        wait_for(process, lambda: len(list(home.store.list(UPLOADS))) >= 3)
    with driver(home) as process:
        wait_for(process, lambda: bool(list(home.store.list(VERDICTS))))
        kill(home, "ingest-demonstrations")
        assert process.wait(timeout=60) == SystemMissingError.exit_code, (
            "a job that was killed ends the driver with its own code"
        )
    with driver(home) as process:
        wait_for(process, lambda: bool(training_workers(home)))
        os.kill(training_workers(home)[0], signal.SIGKILL)
        wait_for(process, lambda: (home.run("round-1") / "policy").is_dir())
    with driver(home) as process:
        assert process.wait(timeout=400) == GateError.exit_code
    steps_of = [step for step, _, _ in read_journal(home.run("round-1") / "journal.jsonl")]
    assert steps_of == sorted(set(steps_of)), "a step was recorded twice"
    check(home, demonstrations(SMALL))

    serve_and_roll_out(home)
    check(home, [*demonstrations(SMALL), *practice(SMALL), *wave(SMALL, 0)])


def serve_and_roll_out(home: Home) -> None:
    """Practice during which the gateway is killed, then one wave of a rollout of the policy against its own copy."""
    variables = cluster_environment(home.root)
    children, port = Children(home.root / "processes", variables), free_port()
    steps, gateway = Steps(home, SMALL, children, port), GatewayKeeper(home, children, port)
    assert not home.ledger.policies(), "a policy that the gate refused was released"
    evaluation = str(home.work("evaluations") / "round-1.json")
    policy = steps.release("round-1", str(home.run("round-1") / "policy"), "0" * 64, "", evaluation)
    limit = threading.Timer(_LONGEST_S, children.sweep)  # a step waits for its process, however long
    limit.daemon = True
    limit.start()
    try:
        start_cluster(children, variables[ADDRESS], home.root)
        steps.make_current(policy)
        gateway.ready()
        kill(home, NAME)
        steps.fleet("practise", practice(SMALL))
        steps.ingest("practice")
        gateway.ready()
        copy = home.run("round-2")
        shutil.copytree(home.run("round-1"), copy)
        (copy / "policy" / MANIFEST).unlink()
        candidate = steps.release("round-2", str(copy / "policy"), "0" * 64, policy, evaluation)
        steps.start_rollout("rollout-2", policy, candidate)
        gateway.ready()
        steps.fleet("wave-1", wave(SMALL, 0))
        steps.ingest("wave-1")
        assert not steps.look("rollout-2")["ended"]
        assert all(was == now for was, now in reconcile.replay(home.ledger, "rollout-2"))
    finally:
        limit.cancel()
        gateway.stop()
        children.sweep()


def check(home: Home, attempts: list[dict[str, Any]]) -> None:
    """Every attempt of the plan is in the store once, judged once, and only the three defects were not accepted."""
    counts = count(home.store)
    assert counts.in_flight == 0
    verdicts = [Verdict.from_bytes(home.store.get(info.key)) for info in home.store.list(VERDICTS)]
    judged = Counter((one.upload.split("/")[1], str(one.code)) for one in verdicts if one.verdict != "accepted")
    planned = Counter(str(one["robot"]) for one in attempts)
    assert judged == {(robot, str(code)): planned[robot] for code, robot in _BROKEN.items()}
    found = Counter(manifest.robot for manifest in accepted(home.store))
    assert found == Counter({robot: number for robot, number in planned.items() if robot not in ("scout-03", "car-03")})


@contextmanager
def driver(home: Home) -> "Iterator[subprocess.Popen[bytes]]":
    """`python -m jobs.flywheel` as a user starts it, killed with -9 at the end of the block if it still runs."""
    command = [sys.executable, "-m", "jobs.flywheel", "--home", str(home.root), "--small"]
    with (home.root.parent / "driver.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(process: "subprocess.Popen[bytes]", happens: Callable[[], bool]) -> None:
    """Until it happens, or until the driver ends before it did."""
    assert eventually(lambda: process.poll() is not None or happens(), within_s=300), "it does not happen"
    assert process.poll() is None, "the driver ended before it could be killed"


def kill(home: Home, name: str) -> None:
    """kill -9 of a child of the driver, alone."""
    os.kill(pid(home, name), signal.SIGKILL)


def pid(home: Home, name: str) -> int:
    return int((home.root / "processes" / f"{name}.pid").read_text())


def training_workers(home: Home) -> list[int]:
    """Processes that train now."""
    if not (home.root / "processes" / "ray.pid").exists():
        return []
    found = []
    with suppress(psutil.NoSuchProcess):  # one may end while it is looked at
        for one in psutil.Process(pid(home, "ray")).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [one.pid] if "TrainWorker" in one.name() else []
    return found
