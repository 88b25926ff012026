"""Trainings on a real Ray that end badly say why: a loss that is no number, workers that are killed every time."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.built_dataset import dataset
from tests.integration.fleets import ROOT, environment

pytestmark = pytest.mark.slow
_ONE_STAGE = ["nano", "stages.1.steps=0", "stages.0.batch=4", "checkpoint_every=5"]
_ONE_STAGE += [f"stages.1.shares.{tag}=0" for tag in ("sawyer", "glider", "car")]
_LONGEST_S = 900.0
"""Of a run whose workers begin three times, each time with all their imports, on two cores that others use as well."""


@contextmanager
def training(folder: Path, mark: str, *overrides: str) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """A training job and the file of what it says; ended with the block, whatever it does."""
    store, version = dataset(folder)
    command = [sys.executable, "-m", "jobs.train", *_ONE_STAGE, *overrides, "--store", store, "--version", version]
    variables = environment(VOLANO_TEST_MARK=mark, RAY_AUTH_MODE="disabled", DS_ACCELERATOR="cpu")
    variables.pop("RAY_ADDRESS", None)
    said = folder / "said"
    with said.open("wb") as log:
        job = subprocess.Popen([*command, "--output", str(folder / "run")], env=variables, cwd=ROOT, stderr=log)
    try:
        yield job, said
    finally:
        job.terminate()  # a driver that is asked to end takes its cluster along
        try:
            job.wait(timeout=30)
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()


def workers(mark: str) -> list[psutil.Process]:
    """Processes that train, of the job with the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if "RayTrainWorker" in process.name() and process.environ().get("VOLANO_TEST_MARK") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_loss_that_is_no_number_ends_the_run_once_and_names_the_episodes(tmp_path: Path) -> None:
    overrides = ("stages.0.optimizer.matrix_rate=1e30", "stages.0.steps=20")
    with training(tmp_path, uuid.uuid4().hex, *overrides) as (job, output):
        job.wait(timeout=300)
    said = output.read_text()
    assert job.returncode == 1, said
    assert "E-TRAIN-002" in said
    assert "scout episode" in said or "groups:" in said
    log = (tmp_path / "run" / "logs" / "rank-0.log").read_text()
    assert log.count("worker begins") == 1, "it was not trained again to the same end"


def test_workers_that_are_killed_before_every_checkpoint_end_the_run_with_their_last_words(tmp_path: Path) -> None:
    mark, killed, until = uuid.uuid4().hex, set[int](), time.monotonic() + _LONGEST_S
    journal = tmp_path / "run" / "journal.jsonl"
    endless = ("stages.0.steps=100000", "checkpoint_every=100000", "log_every=1")
    with training(tmp_path, mark, *endless) as (job, output):
        while job.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b'"step": 3,') > len(killed):
                for process in [one for one in workers(mark) if one.pid not in killed][:1]:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.add(process.pid)
                    time.sleep(2)
            time.sleep(0.1)
        ended = job.poll()
    said = output.read_text()
    assert len(killed) == 3, said
    assert ended == 1, said
    assert "E-TRAIN-011" in said
    assert "its last lines:" in said
    assert len((tmp_path / "run" / "failures.jsonl").read_text().splitlines()) == 3
