"""What a training leaves in its folder, whatever moment it is killed at."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from jobs.recipes import recipe
from jobs.train import _bind
from jobs.train_request import TrainRequest
from jobs.train_worker import Place, _export, _prepare
from tests.integration.built_dataset import dataset
from tests.unit.model.tiny import tiny_policy
from volano.data.build import accepted, build_version
from volano.data.version import load as load_version
from volano.embodiment.shipped import SCOUT
from volano.errors import TrainError
from volano.model.folder import load
from volano.storage.open import open_store
from volano.train.config import FeedConfig
from volano.train.drift import CHANGES
from volano.train.layout import POLICY, RUN
from volano.train.mixture import mixture

PLACE = Place(rank=0, world=1, room_bytes=1e12)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def bind(output: Path, description: dict[str, object], *, accept_changes: bool = False) -> None:
    _bind(output, description, accept_changes=accept_changes, now=NOW)


def test_a_run_folder_is_bound_to_one_configuration(tmp_path: Path) -> None:
    bind(tmp_path, {"config": 1})
    written = (tmp_path / RUN).stat().st_mtime_ns
    bind(tmp_path, {"config": 1})
    assert (tmp_path / RUN).stat().st_mtime_ns == written, (
        "what stands there is not written again: a kill could tear it"
    )
    with pytest.raises(TrainError, match=r"(?s)E-TRAIN-001 .*\n  config: 1 -> 2\n.*--accept-changes"):
        bind(tmp_path, {"config": 2})
    assert json.loads((tmp_path / RUN).read_text()) == {"config": 1}
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


def test_accepted_changes_stand_in_the_run_folder_one_after_another(tmp_path: Path) -> None:
    for workers in (4, 2, 2, 3):
        request = {"workers": workers, "overrides": [f"workers={workers}"]}
        bind(tmp_path, {"request": request, "config_digest": str(workers)}, accept_changes=True)
    at = NOW.isoformat()
    assert json.loads((tmp_path / CHANGES).read_text()) == [
        {"at": at, "changes": [{"key": "request.workers", "old": 4, "new": 2}]},
        {"at": at, "changes": [{"key": "request.workers", "old": 2, "new": 3}]},
    ]
    assert json.loads((tmp_path / RUN).read_text())["request"]["workers"] == 3


def test_a_run_that_goes_on_with_another_version_reads_that_one_alone(tmp_path: Path) -> None:
    url, version = dataset(tmp_path)
    store, known = open_store(url), {SCOUT.fingerprint: SCOUT}
    first = min(manifest.content_id for manifest in accepted(store))
    fewer = build_version(
        store, parent="", reason="fewer", select=lambda upload: float(upload.content_id == first), known=known
    )
    output = tmp_path / "run"
    for name, number in ((version, 3), (fewer.id, 1), (version, 3)):
        request = TrainRequest(recipe="nano", store=url, version=name, output=str(output))
        data, _, _ = _prepare(request, recipe("nano"), PLACE, None)
        assert {one: len(data[one]["scout"]) for one in data} == {name: number}
    named = [sorted(load_version(store, name).files) for name in (version, fewer.id)]
    kept = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for folder in output.iterdir()
    ]
    assert sorted(kept) == sorted(named), "files of two versions stand in one folder"


def test_a_run_that_mixes_versions_reads_both_and_takes_its_own_statistics(tmp_path: Path) -> None:
    url, version = dataset(tmp_path)
    store, known = open_store(url), {SCOUT.fingerprint: SCOUT}
    first = min(manifest.content_id for manifest in accepted(store))
    fewer = build_version(
        store, parent="", reason="fewer", select=lambda upload: float(upload.content_id == first), known=known
    )
    stages = tuple(
        replace(stage, mixture={"episodes": 0.75, f"version:{fewer.id}": 0.25}) for stage in recipe("nano").stages
    )
    request = TrainRequest(recipe="nano", store=url, version=version, output=str(tmp_path / "run"))
    data, policy, _ = _prepare(request, replace(recipe("nano"), stages=stages), PLACE, None)
    assert {name: len(data[name]["scout"]) for name in data} == {version: 3, fewer.id: 1}
    _, alone, _ = _prepare(request, recipe("nano"), PLACE, None)
    assert policy.codecs == alone.codecs
    assert all(torch.equal(one, other) for one, other in zip(policy.parameters(), alone.parameters(), strict=True))
    mixed = mixture(policy, data[version], None, stages[-1], recipe("nano").corpus, 0, {fewer.id: data[fewer.id]})
    assert mixed.proportions(0)[f"share_set_version_{fewer.id[:12]}"] == pytest.approx(0.25, abs=1 / stages[-1].batch)


def test_a_run_that_streams_copies_no_picture(tmp_path: Path) -> None:
    url, version = dataset(tmp_path)
    config = replace(recipe("nano"), feed=FeedConfig(kind="ray"))
    request = TrainRequest(recipe="nano", store=url, version=version, output=str(tmp_path / "run"))
    held, learned, nothing = _prepare(request, recipe("nano"), PLACE, None)
    assert nothing is None
    streamed, same, supply = _prepare(replace(request, output=str(tmp_path / "other")), config, PLACE, None)
    assert supply is not None
    assert not list((tmp_path / "other").rglob("*.mp4"))
    assert same.codecs == learned.codecs
    for whole, numbers in zip(held[version]["scout"], streamed[version]["scout"], strict=True):
        assert [len(film) for film in numbers.images] == [len(film) for film in whole.images]
        assert (numbers.action.tobytes(), numbers.episode) == (whole.action.tobytes(), whole.episode)


def test_a_worker_that_died_behind_its_export_exports_again(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("{}")
    policy = tiny_policy()
    _export(policy, tmp_path)
    _export(policy, tmp_path)
    assert load(tmp_path / POLICY).config == policy.config
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([POLICY, RUN])
