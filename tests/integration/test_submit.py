"""`ray job submit` to a cluster with a token: the command of the laptop trains there, and tells its errors by code."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.built_dataset import dataset
from tests.integration.fleets import ROOT
from tests.integration.seaweed import free_ports
from volano.model.folder import load

_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5d" * 24}
_RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running cluster of one node."""

    address: str
    """Of its jobs."""

    def submit(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of this checkout there, to its end."""
        job = [_RAY, "job", "submit", "--address", self.address, "--working-dir", ".", "--"]
        return subprocess.run(
            [*job, "env", "PYTHONPATH=platform:.", sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **_TOKEN},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def end(process: "subprocess.Popen[bytes]") -> None:
    """Everything that it started, politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
            return


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    main, dashboard, agent, client = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        command = [_RAY, "start", "--head", "--block", "--num-cpus", "2", "--disable-usage-stats", "--temp-dir", folder]
        command += ["--port", str(main), "--dashboard-port", str(dashboard)]
        command += ["--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client)]
        with (Path(folder) / "said").open("w") as said:
            process = subprocess.Popen(
                command, env={**os.environ, **_TOKEN}, stdout=said, stderr=said, start_new_session=True
            )
        try:
            until = time.monotonic() + 90
            while "--block" not in (Path(folder) / "said").read_text():
                assert process.poll() is None, (Path(folder) / "said").read_text()
                assert time.monotonic() < until
                time.sleep(0.2)
            yield Head(address=f"http://127.0.0.1:{dashboard}")
        finally:
            end(process)


@pytest.mark.slow
def test_a_submitted_training_is_the_training_of_the_laptop(head: Head, tmp_path: Path) -> None:
    store, version = dataset(tmp_path)
    absent = [f"stages.1.shares.{tag}=0" for tag in ("sawyer", "glider", "car")]
    recipe = ["nano", "stages.0.steps=2", "stages.1.steps=1", "stages.1.batch=4", "stages.0.batch=4", *absent]
    job = ["-m", "jobs.train", *recipe, "--store", store, "--output", str(tmp_path / "run"), "--version"]
    refused = head.submit(*job, "0" * 64)
    assert refused.returncode != 0
    assert "E-DATA" in refused.stdout + refused.stderr
    trained = head.submit(*job, version)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert set(load(tmp_path / "run" / "policy").codecs) == {"scout"}
