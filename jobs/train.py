"""Train a policy: Ray Train around the library's loop.

    python -m jobs.train nano --store URL --version ID --output FOLDER [--parent FOLDER] [key=value ...]

Every worker reads the dataset version it was named, verified by hash; checkpoints, journal and the exported policy
stand in the output folder, which all workers share. Started again after any crash, it goes on from the newest
complete checkpoint.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from jobs.recipes import recipe
from volano.cluster import connect
from volano.config import apply, digest, to_json
from volano.data.version import load
from volano.ending import coded_ending
from volano.errors import Code, TrainError, VolanoError
from volano.storage.files import replace_file, sync_folder
from volano.storage.open import open_store
from volano.train.layout import POLICY, RUN

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, and where."""

    recipe: str
    overrides: tuple[str, ...] = ()
    store: str
    version: str
    """Identifier of a dataset version in the store."""
    output: str
    """Folder of the run, shared by all workers."""
    parent: str = ""
    """Folder of the policy to start from; empty starts from random weights."""
    workers: int = 2


def run(request: TrainRequest) -> Path:
    """Train to the end (or go on) and return the exported policy folder. Raises VolanoError: what can be refused
    before a cluster is asked for anything is, and what a worker raised is raised here."""
    config = apply(recipe(request.recipe), request.overrides)
    request = _for_anyone(request)
    output = Path(request.output)
    if (output / POLICY).is_dir():
        logger.info("this run is already done: %s", output / POLICY)
        return output / POLICY
    load(open_store(request.store), request.version)
    output.mkdir(parents=True, exist_ok=True)
    _bind(output, {"request": asdict(request), "config": to_json(config), "config_digest": digest(config)})
    connect()
    _fit(request)
    return output / POLICY


def _for_anyone(request: TrainRequest) -> TrainRequest:
    """The request with places that mean the same to workers, whose current folder may be another."""
    return replace(
        request,
        store=open_store(request.store).url,
        output=str(Path(request.output).resolve()),
        parent=str(Path(request.parent).resolve()) if request.parent else "",
    )


def _bind(output: Path, description: dict[str, object]) -> None:
    """A run folder belongs to one configuration for ever."""
    text = json.dumps(description, indent=1, sort_keys=True)
    path = output / RUN
    if not path.exists():
        replace_file(path, [text.encode()])
        sync_folder(output)
    elif path.read_text() != text:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            f"{output} belongs to a run with another configuration",
            f"choose another output folder, or compare with {path}",
        )


def _fit(request: TrainRequest) -> None:
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=asdict(request),
        scaling_config=ray.train.ScalingConfig(num_workers=request.workers, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=Path(request.output).name,
            storage_path=str(Path(request.output) / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=2),
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as error:
        raise _reason(error, request.output) from error


def _reason(error: ray.train.WorkerGroupError, output: str) -> VolanoError:
    """What a worker said before it ended, if it could."""
    for failure in error.worker_failures.values():
        raised = getattr(failure, "_base_exc", failure)  # Ray wraps it and shows it nowhere else
        if isinstance(raised, VolanoError):
            return raised
    last = str(error).strip().splitlines()[-1]
    return TrainError(Code.TRAIN_FAILED, f"the workers failed: {last}", f"see {output}/ray, then start it again")


def train_worker(settings: Mapping[str, Any]) -> None:
    """One Ray Train worker; what it needs is imported there and nowhere else."""
    from jobs.train_worker import work

    work(settings)


def main() -> None:
    """The command line of this job."""
    parser = argparse.ArgumentParser(prog="python -m jobs.train", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    for name in ("store", "version", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parent", default="")
    parser.add_argument("--workers", type=int, default=2)
    options = vars(parser.parse_intermixed_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with coded_ending(logger):
        policy = run(TrainRequest(**{**options, "overrides": tuple(options["overrides"])}))
    logger.info("trained: %s\nnext: python -m jobs.evaluate %s", policy, policy)


if __name__ == "__main__":
    main()
