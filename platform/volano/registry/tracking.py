"""MLflow as a view of what Volano already has on disk: runs from local journals, model versions from manifests.

The only module that imports mlflow. Nothing here is a source of truth and nothing raises: a tracking server that is
down, full or wrong is logged, the answer is None, and the same call later catches up. Repeating a call adds nothing.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from volano.registry.manifest import MANIFEST, Manifest
from volano.train.journal import read_journal

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)
T = TypeVar("T")
Alias = Literal["candidate", "champion"]
RUN, PROJECTED, DIGEST = "volano.run", "volano.projected_step", "volano.policy"
_BATCH_METRICS, _BATCH_PARAMS = 1000, 100
"""What MLflow takes in one call."""
_MAX_PARAM = 6000
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""A server that is away is noticed in seconds; who wants to wait longer sets these."""


def local_uri(folder: Path) -> str:
    """The tracking URI of the SQLite file in an existing folder."""
    return f"sqlite:///{(folder / 'mlflow.db').resolve()}"


def project(
    journal: Path,
    tracking_uri: str,
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    finished: bool = False,
) -> str | None:
    """Bring a journal's new points into the MLflow run of that name, and return the run's identifier, None on failure.

    Each step is sent once, even when a training that resumed wrote it again. `finished` closes the run.
    """
    return _guarded(
        f"metrics of {run_name}",
        lambda: _project(journal, tracking_uri, experiment, run_name, params, tags, finished),
    )


def register(tracking_uri: str, name: str, manifest: Manifest, run_id: str) -> int | None:
    """The version of model `name` that stands for a policy, made on first use with alias `candidate`; None on failure.

    Its files are the manifest; the weights stay in the object store under the policy's digest.
    """
    return _guarded(f"policy {manifest.digest[:12]}", lambda: _register(tracking_uri, name, manifest, run_id))


def set_alias(tracking_uri: str, name: str, alias: Alias, digest: str) -> int | None:
    """Point an alias at the version of a registered policy and return the version; None on failure."""
    return _guarded(f"alias {alias}", lambda: _set_alias(tracking_uri, name, alias, digest))


def _guarded(what: str, action: Callable[[], T]) -> T | None:
    try:
        return action()
    except Exception as error:  # whatever a tracking back end does, it must not stop training or a rollout
        logger.warning("MLflow did not take %s: %s; it stays in the local files", what, error)
        return None


def _client(tracking_uri: str) -> "MlflowClient":
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _project(
    journal: Path,
    tracking_uri: str,
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    finished: bool,
) -> str:
    from mlflow.entities import Metric, Param, RunTag

    client = _client(tracking_uri)
    run = _run(client, _experiment(client, tracking_uri, experiment), run_name)
    run_id: str = run.info.run_id
    for some_params in _chunks([Param(key, str(value)[:_MAX_PARAM]) for key, value in params.items()], _BATCH_PARAMS):
        client.log_batch(run_id, params=some_params)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    done = int(run.data.tags.get(PROJECTED, -1))
    points = [
        Metric(key, value, int(at * 1000), step)
        for step, at, metrics in read_journal(journal)
        if step > done
        for key, value in metrics.items()
    ]
    for some_points in _chunks(points, _BATCH_METRICS):
        # Killed before the tag, the batch is sent again: MLflow keeps one of two equal points.
        client.log_batch(run_id, metrics=some_points)
    if points:
        client.set_tag(run_id, PROJECTED, points[-1].step)
    if finished:
        client.set_terminated(run_id, "FINISHED")
    return run_id


def _experiment(client: "MlflowClient", tracking_uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = None
    if tracking_uri.startswith("sqlite:///"):
        place = (Path(tracking_uri.removeprefix("sqlite:///")).parent / "artifacts" / name).resolve().as_uri()
    return client.create_experiment(name, artifact_location=place)


def _run(client: "MlflowClient", experiment_id: str, run_name: str) -> Any:
    quoted = run_name.replace("'", "")
    found = client.search_runs([experiment_id], f"tags.`{RUN}` = '{quoted}'", max_results=1)
    return found[0] if found else client.create_run(experiment_id, run_name=run_name, tags={RUN: quoted})


def _register(tracking_uri: str, name: str, manifest: Manifest, run_id: str) -> int:
    client = _client(tracking_uri)
    if (known := _version(client, name, manifest.digest)) is not None:
        return known
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / MANIFEST
        path.write_bytes(manifest.to_bytes())
        client.log_artifact(run_id, str(path), f"policies/{manifest.digest}")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    made = client.create_model_version(
        name, source=f"runs:/{run_id}/policies/{manifest.digest}", run_id=run_id, tags=_version_tags(manifest)
    )
    client.set_registered_model_alias(name, "candidate", made.version)
    return int(made.version)


def _version_tags(manifest: Manifest) -> dict[str, str]:
    lineage = manifest.lineage
    return {
        DIGEST: manifest.digest,
        "volano.dataset_versions": ",".join(lineage.dataset_versions),
        "volano.config": lineage.config_digest,
        "volano.code": lineage.code_revision,
        "volano.parent": lineage.parent,
        "volano.evaluation": lineage.evaluation,
        "volano.embodiments": ",".join(f"{tag}={mark}" for tag, mark in sorted(manifest.embodiments.items())),
    }


def _version(client: "MlflowClient", name: str, digest: str) -> int | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
    return min((int(version.version) for version in found), default=None)


def _set_alias(tracking_uri: str, name: str, alias: Alias, digest: str) -> int:
    client = _client(tracking_uri)
    version = _version(client, name, digest)
    if version is None:
        raise LookupError(f"policy {digest[:12]} is not registered as {name!r}")
    client.set_registered_model_alias(name, alias, str(version))
    return version


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
