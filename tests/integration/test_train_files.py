"""What a training leaves in its folder, whatever moment it is killed at."""

import json
from pathlib import Path

import pytest

from jobs.train import _bind
from jobs.train_worker import _export
from tests.unit.model.tiny import tiny_policy
from volano.errors import TrainError
from volano.model.folder import load
from volano.train.layout import POLICY, RUN


def test_a_run_folder_is_bound_to_one_configuration(tmp_path: Path) -> None:
    _bind(tmp_path, {"config": 1})
    written = (tmp_path / RUN).stat().st_mtime_ns
    _bind(tmp_path, {"config": 1})
    assert (tmp_path / RUN).stat().st_mtime_ns == written, (
        "what stands there is not written again: a kill could tear it"
    )
    with pytest.raises(TrainError):
        _bind(tmp_path, {"config": 2})
    assert json.loads((tmp_path / RUN).read_text()) == {"config": 1}
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


def test_a_worker_that_died_behind_its_export_exports_again(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("{}")
    policy = tiny_policy()
    _export(policy, tmp_path)
    _export(policy, tmp_path)
    assert load(tmp_path / POLICY).config == policy.config
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([POLICY, RUN])
