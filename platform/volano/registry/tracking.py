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
from volano.train.journal import JournalTail, Point

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)
T = TypeVar("T")
Alias = Literal["candidate", "champion"]
RUN, PROJECTED, DIGEST = "volano.run", "volano.projected_step", "volano.policy"
DATABASE = "mlflow.db"
_BATCH_METRICS, _BATCH_PARAMS = 1000, 100
"""What MLflow takes in one call."""
_MAX_PARAM = 6000
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""A server that is away is noticed in seconds; who wants to wait longer sets these."""


def local_uri(folder: Path) -> str:
    """The tracking URI of the SQLite file in an existing folder."""
    return f"sqlite:///{(folder / DATABASE).resolve()}"


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
    projection = Projection(
        journal, tracking_uri=tracking_uri, experiment=experiment, run_name=run_name, params=params, tags=tags
    )
    projection.look()
    return projection.send(finished=finished)


class Projection:
    """One journal and its MLflow run; what could not be sent is kept and sent by a later call."""

    def __init__(
        self,
        journal: Path,
        *,
        tracking_uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> None:
        """The journal's file may come later. Nothing is sent yet."""
        self._tail = JournalTail(journal)
        self._uri, self._experiment, self._name = tracking_uri, experiment, run_name
        self._params, self._tags = params, tags
        self._waiting: list[Point] = []
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._done = -1
        """The last step that was there before: a run that goes on elsewhere may write it again."""

    def look(self) -> int:
        """Read what is new in the journal; how many points wait to be sent."""
        self._waiting += [point for point in self._tail.look() if point[0] > self._done]
        return len(self._waiting)

    def send(self, finished: bool = False) -> str | None:
        """Send what waits, and return the run's identifier, None on failure. `finished` closes the run."""
        return _guarded(f"metrics of {self._name}", lambda: self._send(finished))

    def _send(self, finished: bool) -> str:
        from mlflow.entities import Metric, RunTag

        client = self._client or self._meet()
        while self._waiting:
            some = _whole_steps(self._waiting)
            metrics = [
                Metric(key, value, int(at * 1000), step) for step, at, found in some for key, value in found.items()
            ]
            # Killed before the tag, the batch is sent again: MLflow keeps one of two equal points.
            client.log_batch(self._run_id, metrics=metrics, tags=[RunTag(PROJECTED, str(some[-1][0]))])
            del self._waiting[: len(some)]
        if finished:
            client.set_terminated(self._run_id, "FINISHED")
        return self._run_id

    def _meet(self) -> "MlflowClient":
        """Find or make the run, say what it is, and leave out what it has already."""
        from mlflow.entities import Param, RunTag

        client = _client(self._uri)
        run = _run(client, _experiment(client, self._uri, self._experiment), self._name)
        run_id: str = run.info.run_id
        # MLflow lets no parameter change: of a run that goes on with another configuration, the first one stands there.
        unsaid = [Param(k, str(v)[:_MAX_PARAM]) for k, v in self._params.items() if k not in run.data.params]
        for params in _chunks(unsaid, _BATCH_PARAMS):
            client.log_batch(run_id, params=params)
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in self._tags.items()])
        self._done = int(run.data.tags.get(PROJECTED, -1))
        self._waiting = [point for point in self._waiting if point[0] > self._done]
        self._client, self._run_id = client, run_id
        return client


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


def _whole_steps(points: list[Point]) -> list[Point]:
    """As many of the first points as MLflow takes in one call, at least one."""
    room, number = _BATCH_METRICS, 0
    while number < len(points) and (room := room - len(points[number][2])) >= 0:
        number += 1
    return points[: max(number, 1)]


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
