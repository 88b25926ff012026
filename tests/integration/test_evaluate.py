"""Evaluation on a real local Ray: a worker and then the whole job killed with -9, and the same report in the end."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import ray

from jobs.crew import Shard, next_shard
from jobs.evaluate import EvaluationRequest, evaluate
from jobs.evaluator import Evaluator
from tests.integration.built_dataset import dataset
from tests.unit.model.tiny import tiny_policy
from volano.errors import ConfigError
from volano.evaluate.report import ACTORS, Actor, Evaluation
from volano.evaluate.suite import SeedPool, TrialResult
from volano.model.files import content_digest
from volano.model.folder import save

pytestmark = pytest.mark.skipif(find_spec("miniworld") is None, reason="needs the extra `sim`")
_ROOT = Path(__file__).resolve().parents[2]
_EPISODES = 24


@pytest.mark.parametrize(("episodes", "workers"), [(0, 1), (1, 0)])
def test_nothing_to_do_or_nobody_to_do_it_is_refused(tmp_path: Path, episodes: int, workers: int) -> None:
    request = EvaluationRequest(
        policy=str(tmp_path), episodes=episodes, workers=workers, pool="gate", output=str(tmp_path / "report.json")
    )
    with pytest.raises(ConfigError):
        evaluate(request)


def start(folder: Path, mark: str, store: str, version: str) -> "subprocess.Popen[str]":
    """The application as a user starts it, with the mark in its environment and its workers'."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{_ROOT / 'platform'}{os.pathsep}{_ROOT}",
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "VOLANO_TEST_MARK": mark,
    }
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "jobs.evaluate", str(folder / "policy"), "--episodes", str(_EPISODES)]
    command += ["--pool", "gate", "--output", str(folder / "out" / "report.json"), "--embodiments", "scout"]
    command += ["--store", store, "--version", version]
    with (folder / "log").open("a") as log:
        return subprocess.Popen(command, env=environment, cwd=_ROOT, start_new_session=True, stderr=log, text=True)


def workers(mark: str) -> Iterator[int]:
    """Processes of the job's actors."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"VOLANO_TEST_MARK={mark}".encode() in (place / "environ").read_bytes()
            if ours and (place / "cmdline").read_bytes().startswith(b"ray::RemoteEvaluator"):
                yield int(place.name)
        except OSError:
            continue


def wait_for_lines(journal: Path, process: "subprocess.Popen[str]", at_least: int) -> None:
    deadline = time.monotonic() + 120
    while not journal.exists() or len(journal.read_bytes().splitlines()) < at_least:
        assert process.poll() is None, "the job ended before it was killed"
        assert time.monotonic() < deadline, "no episode in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_job_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    save(tiny_policy(), tmp_path / "policy")
    store, version = dataset(tmp_path)
    journal, mark = tmp_path / "out" / "episodes.jsonl", uuid.uuid4().hex

    job = start(tmp_path, mark, store, version)
    wait_for_lines(journal, job, 4)
    os.kill(next(workers(mark)), signal.SIGKILL)
    wait_for_lines(journal, job, len(journal.read_bytes().splitlines()) + 12)
    job.kill()
    job.wait(timeout=30)
    before = journal.read_bytes()
    assert len(before.splitlines()) < 4 * _EPISODES, "the kill came too late to prove anything"
    assert not (tmp_path / "out" / "report.json").exists()

    assert start(tmp_path, mark, store, version).wait(timeout=240) == 0
    log = (tmp_path / "log").read_text()
    assert "a worker died" in log
    assert f"{len(before.splitlines())} of {4 * _EPISODES} episodes are there already" in log
    assert journal.read_bytes().startswith(before)
    assert len(journal.read_bytes().splitlines()) == 4 * _EPISODES, "an episode was played twice"

    report = Evaluation.from_bytes((tmp_path / "out" / "report.json").read_bytes())
    assert (report.policy, report.chunks) == (content_digest(tmp_path / "policy"), version)
    assert {actor: len(rows) for actor, rows in report.results.items()} == dict.fromkeys(ACTORS, _EPISODES)
    assert sum(one.success for one in report.results["expert"]) > 0.8 * _EPISODES
    for actor in ("policy", "expert"):  # in one process, backwards, in other shards: the same to the tick
        assert played_here(tmp_path / "policy", actor) == list(report.results[actor])[:6]

    output = str(tmp_path / "out" / "again.json")  # beside the same journal: nothing is left to play
    request = EvaluationRequest(
        policy=str(tmp_path / "policy"),
        episodes=_EPISODES,
        pool="gate",
        output=output,
        embodiments=("scout",),
        version=version,
    )
    assert evaluate(request) == report
    assert not ray.is_initialized()


def played_here(policy: Path, actor: Actor) -> list[TrialResult]:
    evaluator = Evaluator(str(policy), {})
    evaluator.open()
    shards = [Shard(actor=actor, embodiment="scout", pool=SeedPool.GATE, numbers=(n, n - 1)) for n in (5, 3, 1)]
    return sorted((one for shard in shards for one in evaluator.play(shard)), key=lambda one: one.trial.seed)


def test_a_worker_takes_robots_that_it_has_open_first() -> None:
    car, scout, sawyer = (
        Shard(actor="hold", embodiment=tag, pool=SeedPool.GATE, numbers=(0,)) for tag in ("car", "scout", "sawyer")
    )
    assert next_shard([car, scout, sawyer], {"sawyer"}, {"car"}) == sawyer
    assert next_shard([car, scout, sawyer], set(), {"car"}) == scout
    assert next_shard([car], {"scout"}, {"car"}) == car
