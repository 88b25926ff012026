"""A training of two workers whose worker, node, driver, checkpoint store or MLflow is killed at random steps, or which
loses its folder with the machine, ends with the very weights of an undisturbed one: no sample is lost or seen twice,
and every point is in MLflow once.

VOLANO_KILLS sets how many kills (each kind once by default), VOLANO_KILL_SEED which and when.
"""

import faulthandler
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.integration.built_dataset import dataset
from tests.integration.fleets import ROOT, environment
from tests.integration.kills import lines_of, run_under_fire, scene
from volano.registry.tracking import local_uri
from volano.storage.open import open_store
from volano.train.checkpoint import newest
from volano.train.upload import restore

pytestmark = pytest.mark.slow
_SHARES = {"worker": 10, "machine": 3, "store": 6, "node": 4, "mlflow": 5, "driver": 4}
_FIRST = 12
"""Steps of the first stage."""


def wanted(number: int, chance: random.Random) -> list[str]:
    """What to kill, one after another: each kind first, then by shares."""
    kinds = list(_SHARES)[:number]
    kinds += chance.choices(list(_SHARES), list(_SHARES.values()), k=number - len(kinds))
    chance.shuffle(kinds)
    return kinds


def command(folder: Path, steps: int) -> list[str]:
    store, version = dataset(folder)
    stages = [f"stages.0.steps={_FIRST}", f"stages.1.steps={steps - _FIRST}", "stages.0.batch=4", "stages.1.batch=4"]
    absent = [f"stages.1.shares.{tag}=0" for tag in ("sawyer", "glider", "car")]
    return ["nano", *stages, *absent, "checkpoint_every=4", "log_every=1", "--store", store, "--version", version]


def digest(policy: Path) -> str:
    return hashlib.sha256((policy / "model.safetensors").read_bytes()).hexdigest()


def test_a_training_under_fire_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # as many kills as asked for; each wait has a limit of its own
    number, seed = int(os.environ.get("VOLANO_KILLS", "6")), int(os.environ.get("VOLANO_KILL_SEED", "0"))
    chance = random.Random(seed)
    kinds, steps = wanted(number, chance), 24 + 8 * number
    arguments = command(tmp_path, steps)
    calm = [sys.executable, "-m", "jobs.train", *arguments, "--output", str(tmp_path / "calm")]
    subprocess.run(calm, cwd=ROOT, env=environment(), check=True, timeout=1200)
    with scene(tmp_path, arguments) as made:
        said = run_under_fire(made, kinds, chance)
        assert made.killed == Counter(kinds), f"too short a run for so many kills (seed {seed}): {said}"
        output = made.output
        assert restore(open_store(made.store.url("ready", "run")), tmp_path / "elsewhere"), "the store lost the run"

    expected = {line["step"]: line["metrics"] for line in lines_of(tmp_path / "calm" / "journal.jsonl")}
    assert sorted(expected) == list(range(steps))
    lines = lines_of(output / "journal.jsonl")
    assert {line["step"] for line in lines} == set(expected)
    for line in lines:
        for name in ("loss", "gradient_norm", "learning_rate_expert"):
            assert line["metrics"][name] == expected[line["step"]][name], (line["step"], name, seed)
    assert digest(output / "policy") == digest(tmp_path / "calm" / "policy")
    ends = [newest(folder / "checkpoints") for folder in (output, tmp_path / "elsewhere")]
    assert [end and (end.stage, end.step) for end in ends] == [(1, steps - _FIRST)] * 2
    client = MlflowClient(tracking_uri=local_uri(tmp_path))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len(runs) == 1
    for name in ("loss", "gradient_norm"):
        told = sorted(point.step for point in client.get_metric_history(runs[0].info.run_id, name))
        assert told == list(range(steps)), f"{name} in MLflow (seed {seed})"
    noted = output / "failures.jsonl"  # goes with a lost machine
    ended = [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []
    codes = Counter(line["code"] for line in ended)
    again = len(lines) - steps
    print(f"kills {dict(made.killed)}, {steps} steps, {again} written again, failures {dict(codes)}", flush=True)  # noqa: T201
