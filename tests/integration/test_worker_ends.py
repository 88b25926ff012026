"""Real workers of Ray Train end in every way there is, and each end has its own code and the last lines of the log."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray.train
from ray.cluster_utils import Cluster
from ray.train.torch import TorchTrainer

from jobs.train_failures import ONCE, asked_to_end, begin_log, explained
from tests.integration.clusters import add_node, begin_cluster
from tests.integration.fleets import environment
from volano.errors import Code, TrainError, VolanoError

pytestmark = pytest.mark.slow
_ROOM, _MOST = 3 << 30, 8 << 30
"""Bytes that are free below the memory monitor's threshold, and that a worker takes."""
_READY_S = 300.0


def end(settings: dict[str, Any]) -> None:
    """A worker: rank 1 ends as told, rank 0 would work on."""
    output, rank, how = Path(settings["output"]), ray.train.get_context().get_world_rank(), settings["how"]
    begin_log(output)
    logging.getLogger("worker").info("the last words of rank %d", rank)
    (output / f"ready-{rank}").touch()
    if rank != 1:
        time.sleep(60)
        return
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    elif how == "memory":
        held = []
        for _ in range(_MOST >> 27):
            held.append(b"x" * (1 << 27))
            time.sleep(0.02)
    elif how == "no number":
        raise TrainError(Code.TRAIN_NOT_FINITE, "the loss is not finite", "lower the rate")
    elif how == "array":
        raise MemoryError("Unable to allocate 8 EiB")
    elif how == "defect":
        raise ValueError("nobody expected this")
    time.sleep(60)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes that stay: Ray may lose what a node holds that goes while its workers are cleared away. Each test has
    its own: behind a worker that was asked to end Ray once held its processor for good, and the next test waited."""
    with clustered({}) as made:
        add_node(made)
        yield made


@contextmanager
def clustered(settings: Mapping[str, str], cpus: int = 1) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}.items():
            patch.setenv(name, value)
        made = begin_cluster(cpus)
        variables = {name: environment()[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS")}
        try:
            ray.init(
                made.address, runtime_env={"env_vars": variables}, logging_level=logging.ERROR, log_to_driver=False
            )
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def test_a_worker_that_takes_too_much_memory_is_told_apart(tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + _ROOM) / memory.total
    settings = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    with clustered(settings, cpus=2):  # each node's monitor would end something of its own
        told = fail(tmp_path, "memory")
    assert told.code is Code.TRAIN_OUT_OF_MEMORY, told
    assert "Ray ended" in told.cause


def test_a_node_may_go(tmp_path: Path) -> None:
    with clustered({}) as made:
        lose_when_ready(made, add_node(made), tmp_path)
        told = fail(tmp_path, "node")
    assert told.code is Code.TRAIN_LOST_NODE, told
    assert "gone from the cluster" in told.cause
    assert "the last words of rank" in told.cause  # either worker may be on it


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("SIGKILL", Code.TRAIN_KILLED, "died without a word"),
        ("SIGSEGV", Code.TRAIN_KILLED, "Segmentation fault"),
        ("SIGTERM", Code.TRAIN_PREEMPTED, "SIGTERM"),
        ("defect", Code.TRAIN_EXCEPTION, "nobody expected this"),
        ("no number", Code.TRAIN_NOT_FINITE, "not finite"),
        ("array", Code.TRAIN_OUT_OF_MEMORY, "8 EiB"),
    ],
)
@pytest.mark.usefixtures("cluster")
def test_every_end_has_its_code(tmp_path: Path, how: str, code: Code, says: str) -> None:
    told = fail(tmp_path, how)
    assert told.code is code, told
    assert says in told.cause
    if how == "SIGSEGV":
        assert "rank 1" in told.cause
    elif how != "no number":
        assert "the last words of rank 1" in told.cause


def fail(output: Path, how: str) -> VolanoError:
    trainer = TorchTrainer(
        end,
        train_loop_config={"how": how, "output": str(output)},
        scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(name="run", storage_path=str(output / "ray"), failure_config=ONCE),
    )
    with pytest.raises((ray.train.TrainingFailedError, ray.exceptions.RayError)) as caught:
        trainer.fit()
    return explained(caught.value, output)


def lose_when_ready(cluster: Cluster, node: Any, output: Path) -> None:
    """Take a node away once both workers work: all its processes at once, as a power cut does."""

    def wait() -> None:
        until = time.monotonic() + _READY_S
        while len(list(output.glob("ready-*"))) < 2:
            if time.monotonic() > until:
                return  # the workers end by themselves, and the test fails
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)

    threading.Thread(target=wait, daemon=True).start()


def test_the_command_itself_may_be_asked_to_end() -> None:
    def command() -> None:
        with asked_to_end():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainError, match="E-TRAIN-009"):
        command()
    assert signal.getsignal(signal.SIGTERM) is before
