"""What a flywheel signs: the policy that was evaluated, and no folder that somebody else signed."""

import json
import shutil
import time
from pathlib import Path

import pytest

from jobs.flywheel.children import Children
from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan
from jobs.flywheel.steps import Steps
from tests.unit.evaluate.evaluations import evaluation
from tests.unit.registry.folders import LINEAGE, exported
from volano.errors import Code, PolicyError
from volano.model.files import STATISTICS, TOKENIZER, content_digest
from volano.registry.keys import Keys
from volano.registry.manifest import MANIFEST, write_manifest
from volano.train.layout import RUN, TRAINED


def ready(tmp_path: Path) -> tuple[Steps, Path, Path]:
    """Steps, a trained policy, and its evaluation."""
    home = Home(tmp_path / "home")
    home.run("round-1").mkdir(parents=True)
    said = {
        "config": {"recipe": "nano", "stages": []},
        "config_digest": "c" * 64,
        "request": {"version": "a" * 64, "parent": None},
    }
    (home.run("round-1") / RUN).write_text(json.dumps(said))
    folder = exported(home.run("round-1") / "policy")
    shutil.copy(home.run("round-1") / RUN, folder / TRAINED)
    for name in (TOKENIZER, STATISTICS):
        (folder / name).write_text("{}")
    report = tmp_path / "evaluation.json"
    report.write_bytes(evaluation({"policy": {"car": [True]}}, policy=content_digest(folder)).to_bytes())
    return Steps(home, FlywheelPlan(), Children(home.root / "processes", {}), 1), folder, report


def release(steps: Steps, folder: Path, report: Path) -> str:
    return steps.release("round-1", str(folder), "a" * 64, "", str(report))


def test_a_policy_that_is_not_the_evaluated_one_is_not_signed(tmp_path: Path) -> None:
    steps, folder, report = ready(tmp_path)
    (folder / STATISTICS).write_text('{"changed": "after the evaluation"}')
    with pytest.raises(PolicyError) as refused:
        release(steps, folder, report)
    assert refused.value.code is Code.POLICY_TAMPERED
    assert not (folder / MANIFEST).exists()


def test_what_a_stranger_described_is_not_released(tmp_path: Path) -> None:
    steps, folder, report = ready(tmp_path)
    write_manifest(folder, LINEAGE)
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(PolicyError) as refused:
        release(steps, folder, report)
    assert refused.value.code is Code.POLICY_TAMPERED
    assert (folder / MANIFEST).read_bytes() == before


def test_releasing_makes_keys_on_first_use_and_may_be_repeated(tmp_path: Path) -> None:
    steps, folder, report = ready(tmp_path)
    home = Home(tmp_path / "home")
    digest = release(steps, folder, report)
    keys = Keys(folder=home.keys)
    first = keys.trust.look(home.store, time.time())
    assert list(first.by_policy) == [digest]
    assert release(steps, folder, report) == digest
    assert keys.trust.look(home.store, time.time()).trusted == first.trusted
