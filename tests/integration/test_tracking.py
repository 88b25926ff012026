"""A real MLflow on SQLite: each point once however often the journal is projected, one version per policy, no error."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.unit.registry.folders import LINEAGE, described, exported
from volano.flywheel.champion import show_champion
from volano.ledger.ledger import open_ledger
from volano.ledger.records import PolicyRecord
from volano.registry.manifest import write_manifest
from volano.registry.tracking import Projection, local_uri, project, register, set_alias
from volano.train.journal import Journal

PARAMS = {f"model.width_{number}": number for number in range(150)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the whole module: making one takes seconds."""
    return tmp_path_factory.mktemp("tracking")


def test_every_point_arrives_once_across_repeats_crashes_and_resumes(place: Path) -> None:
    uri, path = local_uri(place), place / "journal.jsonl"
    journal = Journal(path)
    for step in range(1200):
        journal.append(step, {"loss": 1.0 / (step + 1), "rate": 0.1})
    run_id = project(path, uri, "flywheel", "round-1", PARAMS, {"volano.config": "c" * 64})
    assert run_id is not None
    client = MlflowClient(tracking_uri=uri)
    for step in range(1100, 1300):  # the run resumed from an older checkpoint
        journal.append(step, {"loss": 5.0, "rate": 0.1})
    with path.open("ab") as stream:
        stream.write(b"deadbeef {torn")
    assert project(path, uri, "flywheel", "round-1", PARAMS, {}) == run_id
    assert project(path, uri, "flywheel", "round-1", PARAMS, {}, finished=True) == run_id
    for key in ("loss", "rate"):
        steps = [point.step for point in client.get_metric_history(run_id, key)]
        assert sorted(steps) == list(range(1300))
    run = client.get_run(run_id)
    assert len(run.data.params) == len(PARAMS)
    assert run.data.tags["volano.config"] == "c" * 64
    assert run.info.status == "FINISHED"


def test_a_batch_that_was_sent_before_the_kill_is_not_doubled(place: Path) -> None:
    uri, path = local_uri(place), place / "killed.jsonl"
    journal = Journal(path)
    for step in range(50):
        journal.append(step, {"loss": float(step)})
    run_id = project(path, uri, "flywheel", "killed", {}, {})
    assert run_id is not None
    client = MlflowClient(tracking_uri=uri)
    client.set_tag(run_id, "volano.projected_step", -1)
    project(path, uri, "flywheel", "killed", {}, {})
    assert len(client.get_metric_history(run_id, "loss")) == 50


def test_a_run_that_goes_on_elsewhere_or_otherwise_tells_every_step_once(place: Path) -> None:
    uri, lost, kept = local_uri(place), place / "lost.jsonl", place / "kept.jsonl"
    for step in range(50):
        Journal(lost).append(step, {"loss": float(step)})
    run_id = project(lost, uri, "flywheel", "moved", {"config_digest": "a"}, {})
    for step in range(30):  # what the store had of the journal when the machine was lost
        Journal(kept).append(step, {"loss": float(step)})
    moved = Projection(
        kept, tracking_uri=uri, experiment="flywheel", run_name="moved", params={"config_digest": "b"}, tags={}
    )
    moved.look()
    assert moved.send() == run_id, "MLflow lets no parameter change"
    for step in range(25, 60):
        Journal(kept).append(step, {"loss": -1.0})
    moved.look()
    assert moved.send(finished=True) == run_id
    assert run_id is not None
    points = MlflowClient(tracking_uri=uri).get_metric_history(run_id, "loss")
    assert sorted(point.step for point in points) == list(range(60))


def test_a_policy_is_one_version_with_its_lineage_and_aliases(place: Path) -> None:
    uri, path = local_uri(place), place / "empty.jsonl"
    Journal(path)
    run_id = project(path, uri, "flywheel", "policy", {}, {})
    assert run_id is not None
    manifest = described(place / "policy")
    version = register(uri, "volano", manifest, run_id)
    assert version == register(uri, "volano", manifest, run_id) == 1
    client = MlflowClient(tracking_uri=uri)
    made = client.get_model_version_by_alias("volano", "candidate")
    assert made.tags["volano.policy"] == manifest.digest
    assert made.tags["volano.dataset_versions"] == ",".join(manifest.lineage.dataset_versions)
    assert set_alias(uri, "volano", "champion", manifest.digest) == 1
    assert int(client.get_model_version_by_alias("volano", "champion").version) == 1
    copy = Path(client.download_artifacts(run_id, f"policies/{manifest.digest}/manifest.json", str(place)))
    assert copy.read_bytes() == manifest.to_bytes()
    assert place in Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")).parents


def test_a_back_end_that_fails_is_reported_and_never_raises(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    path = place / "journal-of-a-lost-server.jsonl"
    Journal(path).append(1, {"loss": 1.0})
    for uri in ("http://127.0.0.1:9", "sqlite:////proc/absent/mlflow.db", "nonsense://"):
        assert project(path, uri, "flywheel", "lost", {}, {}) is None
    assert set_alias(local_uri(place), "volano", "champion", "e" * 64) is None
    assert "it stays in the local files" in caplog.text


def test_the_champion_is_what_was_put_in_place_last_whoever_decided(place: Path) -> None:
    uri, path = local_uri(place), place / "champions.jsonl"
    Journal(path)
    run_id = project(path, uri, "flywheel", "champions", {}, {})
    assert run_id is not None
    digests = []
    with open_ledger(f"sqlite:///{place / 'ledger.db'}") as ledger:
        show_champion(ledger, uri)
        for number in (1, 2):
            exported(place / f"champion-{number}")
            manifest = write_manifest(
                place / f"champion-{number}", replace(LINEAGE, code_revision=f"revision-{number}")
            )
            register(uri, "champions", manifest, run_id)
            record = PolicyRecord(
                digest=manifest.digest, model_name="champions", version=number, status="released", manifest="{}"
            )
            ledger.put_policy(record, "test", 1.0)
            digests.append(manifest.digest)
        client = MlflowClient(tracking_uri=uri)
        for at, digest in enumerate((digests[1], digests[0], digests[1])):
            ledger.set_current("f" * 64, digest, "ada", float(at))
            show_champion(ledger, uri)
            shown = client.get_model_version_by_alias("champions", "champion")
            assert shown.tags["volano.policy"] == digest
        show_champion(ledger, "http://127.0.0.1:9")  # away: said, and nothing else
