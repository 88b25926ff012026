"""Train a policy: Ray Train around the library's loop.

    python -m jobs.train nano --store URL --version ID --output FOLDER [--parent FOLDER] [key=value ...]
        [--checkpoint-store URL] [--tracking URI]

Every worker reads the dataset version it was named, verified by hash; checkpoints, journal and the exported policy
stand in the output folder, which all workers share. Started again after any crash, it goes on from the newest
complete checkpoint; with another configuration or number of workers, where --accept-changes says that this is meant.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from jobs.occupied import occupied
from jobs.recipes import recipe
from jobs.track import following
from jobs.train_failures import ONCE, asked_to_end, begin_log, explained, note
from jobs.train_memory import check_memory
from jobs.train_progress import telling
from jobs.train_request import TrainRequest
from volano.cluster import connect
from volano.config import apply, digest, to_json
from volano.data.recall import refuse_recalled
from volano.data.version import DatasetVersion, load
from volano.embodiment.contract import Embodiment
from volano.ending import coded_ending
from volano.errors import Code, TrainError
from volano.storage.files import replace_file
from volano.storage.open import open_store
from volano.train.checkpoint import newest_name
from volano.train.config import RunConfig
from volano.train.deaths import Ended, goes_on
from volano.train.drift import CHANGES, Change, changes
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN
from volano.train.sets import all_robots, check_sets, other_versions
from volano.train.upload import restore, uploading

logger = logging.getLogger(__name__)
LOCK = ".train.lock"
"""In a run's folder: held by the command that trains there."""
_WAIT_S = 3 * 3600
"""How long workers wait for each other, instead of torch's half an hour: rank 0 alone converts a checkpoint for another
number of workers, which for billions of weights may take longer, while the others stand at a barrier. Of a worker that
died Ray knows without this; one that hangs is found as late."""
_DERIVED = ("config_digest", "request.overrides")
"""Keys of a run's description that follow from others, and say nothing that those do not."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What goes on beside a training, and never in its way. It says nothing about the run itself."""

    checkpoint_store: str = ""
    """URL of a store for this run's checkpoints alone; empty keeps them in the run's folder only."""
    tracking: str = ""
    """MLflow's URI; empty sends nothing."""


def run(
    request: TrainRequest,
    beside: Beside | None = None,
    *,
    accept_changes: bool = False,
    ignore_memory: bool = False,
    with_recalled: bool = False,
) -> Path:
    """Train to the end (or go on) and return the exported policy folder. Raises VolanoError: what can be refused
    before a cluster is asked for anything is, also a folder in which another command trains (E-SYSTEM-004) and, for a
    new run, recalled episodes (E-DATA-071) unless they are meant; what its workers cannot hold (unless that is to be
    ignored) is before any of them starts, and what a worker raised is raised here."""
    beside = beside or Beside()
    config = apply(recipe(request.recipe), request.overrides)
    if config.goes_on and not request.parent:
        raise TrainError(
            Code.TRAIN_DATA, f"{request.recipe!r} goes on from a policy, and none is named", "name it with --parent"
        )
    request = _for_anyone(request)
    output = Path(request.output)
    description: dict[str, object] = {
        "request": asdict(request),
        "config": to_json(config),
        "config_digest": digest(config),
    }
    if (output / POLICY).is_dir():
        _changed(output, description, accept_changes=False)
        logger.info("this run is already done: %s", output / POLICY)
        return output / POLICY
    robots, versions = _drawn(request, config)
    fix = "wait for it or end it, or choose another output folder"
    with occupied(output / LOCK, cause=f"another command trains in {output}", fix=fix):
        kept = open_store(beside.checkpoint_store) if beside.checkpoint_store else None
        if kept is not None:
            restore(kept, output, partial(_adopted, request))
        if not (with_recalled or (output / RUN).exists()):  # a run under way goes on with what it has learned from
            for version in versions:
                refuse_recalled(open_store(request.store), version)
        _changed(output, description, accept_changes=accept_changes)
        connect()
        if not ignore_memory:
            check_memory(config, robots, request.workers)
        _bind(output, description, accept_changes=accept_changes, now=datetime.now(UTC))
        steps = sum(stage.steps for stage in config.stages)
        with telling(output / JOURNAL, steps), uploading(kept, output), following(output, beside.tracking):
            _fit(request)
    return output / POLICY


def _drawn(request: TrainRequest, config: RunConfig) -> tuple[dict[str, Embodiment], list[DatasetVersion]]:
    """Every dataset version that the run draws from, and their robots, when the run can draw them."""
    store = open_store(request.store)
    drawn = other_versions(stage.mixture for stage in config.stages)
    if request.version in drawn:
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"a stage mixes the run's own version {request.version[:12]} by its name",
            "call it `episodes` there",
        )
    version, *mixed = [load(store, name) for name in (request.version, *drawn)]
    others = {one.id: one.embodiments for one in mixed}
    check_sets(config, version.embodiments, Path(request.parent) if request.parent else None, others)
    return all_robots(version.embodiments, others), [version, *mixed]


def _for_anyone(request: TrainRequest) -> TrainRequest:
    """The request with places that mean the same to workers, whose current folder may be another."""
    return replace(
        request,
        store=open_store(request.store).url,
        output=str(Path(request.output).resolve()),
        parent=str(Path(request.parent).resolve()) if request.parent else "",
    )


def _adopted(request: TrainRequest, description: bytes) -> bytes:
    """What came from another machine says where things are on this one."""
    found = json.loads(description)
    found["request"] |= {"output": request.output, "store": request.store, "parent": request.parent}
    return json.dumps(found, indent=1, sort_keys=True).encode()


def _changed(output: Path, description: Mapping[str, object], *, accept_changes: bool) -> list[Change]:
    """What differs from the configuration that the folder belongs to; raises TrainError(E-TRAIN-001) unless that is
    accepted."""
    if not (output / RUN).exists():
        return []
    every = changes(json.loads((output / RUN).read_text()), json.loads(json.dumps(description)))
    found = [change for change in every if not change.key.startswith(_DERIVED)]
    if found and not accept_changes:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            "\n  ".join([f"{output} belongs to a run with another configuration:", *map(str, found)]),
            "choose another output folder, or go on with the new values by --accept-changes",
        )
    return found


def _bind(output: Path, description: Mapping[str, object], *, accept_changes: bool, now: datetime) -> None:
    """A run folder belongs to one configuration, until another is accepted: then the folder says what changed."""
    found = _changed(output, description, accept_changes=accept_changes)
    if found:
        history = json.loads((output / CHANGES).read_text()) if (output / CHANGES).exists() else []
        history.append({"at": now.isoformat(), "changes": [change.to_json() for change in found]})
        replace_file(output / CHANGES, [json.dumps(history, indent=1).encode()])
    if found or not (output / RUN).exists():
        replace_file(output / RUN, [json.dumps(description, indent=1, sort_keys=True).encode()])


def _fit(request: TrainRequest) -> None:
    """Let workers train until they are done, again and again while that leads further."""
    output = Path(request.output)
    ended: list[Ended] = []
    with asked_to_end():
        while True:
            try:
                _trainer(request).fit()
            except (ray.train.TrainingFailedError, ray.exceptions.RayError) as failure:
                error, checkpoint = explained(failure, output), newest_name(output / CHECKPOINTS)
                ended.append(Ended(code=error.code, checkpoint=checkpoint))
                again = goes_on(ended)
                note(error, output, at=time.time(), checkpoint=checkpoint, again=again)
                if not again:
                    raise error from failure
            else:
                return


def _trainer(request: TrainRequest) -> TorchTrainer:
    return TorchTrainer(
        train_worker,
        train_loop_config=asdict(request),
        scaling_config=ray.train.ScalingConfig(
            num_workers=request.workers,
            resources_per_worker={"CPU": 1},
            use_gpu=ray.cluster_resources().get("GPU", 0) >= request.workers,
        ),
        run_config=ray.train.RunConfig(
            name=Path(request.output).name,
            storage_path=str(Path(request.output) / "ray"),
            failure_config=ONCE,
        ),
        torch_config=TorchConfig(timeout_s=_WAIT_S),
    )


def train_worker(settings: Mapping[str, Any]) -> None:
    """One Ray Train worker; what it needs is imported there and nowhere else. What it raises is in its log, too."""
    request = TrainRequest(**settings)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    begin_log(Path(request.output))
    try:
        from jobs.train_worker import work

        work(request)
    except BaseException:
        logger.exception("this worker ends")
        raise


def main() -> None:
    """The command line of this job."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m jobs.train", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    for name in ("store", "version", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parent", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoint-store", default="", help="keep this run's checkpoints there as well")
    parser.add_argument("--tracking", default=os.environ.get("MLFLOW_TRACKING_URI", ""), help="MLflow's URI")
    parser.add_argument("--accept-changes", action="store_true", help="go on although the configuration differs")
    parser.add_argument("--ignore-memory", action="store_true", help="start although the plan says it will not fit")
    parser.add_argument("--with-recalled", action="store_true", help="start although episodes were recalled")
    options = vars(parser.parse_intermixed_args())
    allowed = ("accept_changes", "ignore_memory", "with_recalled")
    flags = {name: options.pop(name) for name in allowed}
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    beside = Beside(checkpoint_store=options.pop("checkpoint_store"), tracking=options.pop("tracking"))
    with coded_ending(logger):
        request = TrainRequest(**{**options, "overrides": tuple(options["overrides"])})
        policy = run(request, beside, **flags)
    logger.info("trained: %s", policy)
    report = policy.with_name("evaluation.json")
    data = f"--store {request.store} --version {request.version}"
    logger.info("next: volano eval run %s --episodes 52 --pool gate --output %s %s", policy, report, data)


if __name__ == "__main__":
    main()
