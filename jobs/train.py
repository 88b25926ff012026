"""Train a policy: Ray Train around the library's loop.

    python -m jobs.train nano --store URL --version ID --output FOLDER [--parent FOLDER] [key=value ...]

Every worker reads the dataset version it was named, verified by hash; checkpoints, journal and the exported policy
stand in the output folder, which all workers share. Started again after any crash, it goes on from the newest
complete checkpoint.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volano.config import apply, digest, to_json

from jobs.recipes import recipe
from volano.errors import Code, TrainError

logger = logging.getLogger(__name__)
POLICY, JOURNAL, CHECKPOINTS, RUN = "policy", "journal.jsonl", "checkpoints", "run.json"


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
    """Train to the end (or go on) and return the exported policy folder."""
    config = apply(recipe(request.recipe), request.overrides)
    output = Path(request.output)
    if (output / POLICY).is_dir():
        logger.info("this run is already done: %s", output / POLICY)
        return output / POLICY
    output.mkdir(parents=True, exist_ok=True)
    _bind(output, {"request": request.__dict__ | {"workers": request.workers}, "config": to_json(config)})
    _fit(request)
    logger.info("config %s", digest(config)[:12])
    return output / POLICY


def _bind(output: Path, description: dict[str, object]) -> None:
    """A run folder belongs to one configuration for ever."""
    text = json.dumps(description, indent=1, sort_keys=True)
    path = output / RUN
    if path.exists() and path.read_text() != text:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            f"{output} belongs to a run with another configuration",
            f"choose another output folder, or compare with {path}",
        )
    path.write_text(text)


def _fit(request: TrainRequest) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        train_worker,
        train_loop_config=request.__dict__,
        scaling_config=ray.train.ScalingConfig(num_workers=request.workers, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=Path(request.output).name,
            storage_path=str(Path(request.output).resolve() / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=2),
        ),
    )
    trainer.fit()


def train_worker(settings: Mapping[str, object]) -> None:
    """One Ray Train worker."""
    import ray.train
    import torch
    from volano.train.journal import Journal

    from volano.train.loop import Worker, train

    request = TrainRequest(**settings)  # type: ignore[arg-type]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    config = apply(recipe(request.recipe), request.overrides)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    episodes, policy = _prepare(request, rank)
    output = Path(request.output)
    journal = Journal(output / JOURNAL) if rank == 0 else None
    worker = Worker(
        rank=rank,
        world=world,
        barrier=torch.distributed.barrier,
        record=journal.append if journal is not None else None,
    )
    train(policy, episodes, config, output / CHECKPOINTS, worker)
    if rank == 0:
        _export(policy, output)
    torch.distributed.barrier()
    ray.train.report({"done": 1})
