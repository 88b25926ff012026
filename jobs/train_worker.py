"""What one worker of a training does: data and policy in, the library's loop, the policy folder out.

Apart from `jobs.train`, because its imports take ten seconds that neither the command nor Ray's controller should wait.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
import torch

from jobs.recipes import recipe
from jobs.train import TrainRequest
from volano.config import apply
from volano.data.version import materialize
from volano.model.folder import load, save
from volano.model.policy import Policy
from volano.model.prompt import train_tokenizer
from volano.storage.files import sync_folder
from volano.storage.open import open_store
from volano.train.config import RunConfig
from volano.train.dataset import demonstrations, fit_codecs
from volano.train.feed import Demonstration
from volano.train.journal import Journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN
from volano.train.loop import Worker, train


def work(settings: Mapping[str, Any]) -> None:
    """One Ray Train worker."""
    request = TrainRequest(**settings)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    config = apply(recipe(request.recipe), request.overrides)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    output = Path(request.output)
    episodes, policy = _prepare(request, config, rank)
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


def _prepare(request: TrainRequest, config: RunConfig, rank: int) -> tuple[dict[str, list[Demonstration]], Policy]:
    """The dataset version in memory, and the policy to train: from the parent, or new and fitted to the data."""
    folder = Path(request.output) / f"data-{rank}"
    version = materialize(open_store(request.store), request.version, folder)
    episodes = demonstrations(folder, version)
    torch.manual_seed(config.seed)
    if request.parent:
        return episodes, load(Path(request.parent))
    instructions = {episode.instruction for items in episodes.values() for episode in items}
    tokenizer = train_tokenizer(version.embodiments.values(), instructions, config.model.backbone.vocabulary)
    codecs = fit_codecs(episodes, version.embodiments, config.model)
    return episodes, Policy(config.model, tokenizer, codecs)


def _export(policy: Policy, output: Path) -> None:
    """The policy folder appears whole or not at all, through to the disk; one that is there was made by these steps."""
    if (output / POLICY).is_dir():
        return
    part = output / f"{POLICY}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    save(policy, part)
    shutil.copy(output / RUN, part / "train_config.json")
    for path in part.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(part)
    part.rename(output / POLICY)
    sync_folder(output)
