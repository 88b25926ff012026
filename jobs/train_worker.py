"""What one worker of a training does: data and policy in, the library's loop, the policy folder out.

Apart from `jobs.train`, because its imports take ten seconds that neither the command nor Ray's controller should wait.
"""

import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import ray.train
import ray.train.torch
import torch
from numpy.typing import NDArray

from jobs.recipes import recipe
from jobs.train_memory import room_bytes
from jobs.train_request import TrainRequest
from pipelines.feed import RaySupply, Source
from volano.config import apply
from volano.data.footage import Footage
from volano.data.version import is_table, materialize
from volano.model.folder import load, save
from volano.model.policy import Policy
from volano.storage.files import sync_file, sync_folder
from volano.storage.open import open_store
from volano.train.config import RunConfig
from volano.train.corpus import Corpus, make_corpus
from volano.train.dataset import decoded_bytes, demonstrations, is_streamed, new_policy, origin, streamed
from volano.train.feed import Demonstration
from volano.train.film import Supply
from volano.train.journal import Journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN
from volano.train.loop import train
from volano.train.lora import adapt, merge
from volano.train.stage import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One worker among the others."""

    rank: int
    world: int
    room_bytes: float
    """Memory that it can have."""


def work(request: TrainRequest) -> None:
    """One Ray Train worker."""
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())
    config = apply(recipe(request.recipe), request.overrides)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    output = Path(request.output)
    corpus = make_corpus(config.corpus, config.model)
    place = Place(rank=rank, world=world, room_bytes=room_bytes(world))
    episodes, policy, supply = _prepare(request, config, place, corpus)
    journal = Journal(output / JOURNAL) if rank == 0 else None
    worker = Worker(
        rank=rank,
        world=world,
        barrier=torch.distributed.barrier,
        record=journal.append if journal is not None else None,
    )
    train(policy, episodes, config, output / CHECKPOINTS, worker, corpus, supply)
    if rank == 0:
        _export(policy, output)
    torch.distributed.barrier()
    ray.train.report({"done": 1})


def _prepare(
    request: TrainRequest, config: RunConfig, place: Place, corpus: Corpus | None
) -> tuple[dict[str, list[Demonstration]], Policy, Supply | None]:
    """The episodes of the dataset version; the policy to train, from the parent, or new and fitted to the data; and
    what brings the pictures, where they are not in memory."""
    store = open_store(request.store)
    # The run may go on with another version.
    folder = Path(request.output) / f"data-{place.rank}-{request.version[:16]}"
    version = materialize(store, request.version, folder, is_table)
    supply: Supply | None = None
    if is_streamed(config.feed, decoded_bytes(folder, version), place.room_bytes):
        footage, shown = Footage.read(folder, version.embodiments), dict[int, NDArray[np.uint8]]()
        episodes = streamed(folder, version, footage, shown)
        source = Source(
            store_url=store.url,
            version=request.version,
            footage=footage,
            decoders=config.feed.decoders,
            world=place.world,
        )
        supply = RaySupply(source, shown, partial(origin, episodes))
        logger.info("pictures are decoded by Ray Data as they are shown")
    else:
        materialize(store, request.version, folder)
        episodes = demonstrations(folder, version)
    torch.manual_seed(config.seed)
    if request.parent:
        policy = load(Path(request.parent))
    else:
        policy = new_policy(episodes, version.embodiments, config.model, corpus)
    if config.lora.rank:
        adapt(policy, config.lora)
    return episodes, policy, supply


def _export(policy: Policy, output: Path) -> None:
    """The policy folder appears whole or not at all, through to the disk; one that is there was made by these steps."""
    if (output / POLICY).is_dir():
        return
    part = output / f"{POLICY}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    merge(policy)
    save(policy, part)
    shutil.copy(output / RUN, part / "train_config.json")
    for path in part.iterdir():
        sync_file(path)
    sync_folder(part)
    part.rename(output / POLICY)
    sync_folder(output)
