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
from volano.data.version import DatasetVersion, is_table, materialize
from volano.model.actions import ActionCodec
from volano.model.folder import load, save
from volano.model.policy import Policy
from volano.storage.files import sync_file, sync_folder
from volano.storage.open import open_store
from volano.train.config import RunConfig
from volano.train.corpus import Corpus, make_corpus
from volano.train.dataset import decoded_bytes, demonstrations, is_streamed, new_policy, origin, stated_codecs, streamed
from volano.train.feed import Demonstration
from volano.train.film import Supply
from volano.train.journal import Journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN, TRAINED
from volano.train.loop import train
from volano.train.lora import adapt, merge
from volano.train.sets import other_versions
from volano.train.stage import Worker

logger = logging.getLogger(__name__)
Episodes = dict[str, list[Demonstration]]
"""By embodiment tag."""


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
    data, policy, supply = _prepare(request, config, place, corpus)
    journal = Journal(output / JOURNAL) if rank == 0 else None
    worker = Worker(
        rank=rank,
        world=world,
        barrier=torch.distributed.barrier,
        record=journal.append if journal is not None else None,
    )
    own = data.pop(request.version)
    train(policy, own, config, output / CHECKPOINTS, worker, corpus, data, supply)
    if rank == 0:
        _export(policy, output)
    torch.distributed.barrier()
    ray.train.report({"done": 1})


def _prepare(
    request: TrainRequest, config: RunConfig, place: Place, corpus: Corpus | None
) -> tuple[dict[str, Episodes], Policy, Supply | None]:
    """The episodes of every dataset version that the run draws from; the policy to train, from the parent, or new with
    the data's statistics; and what brings the pictures of the run's own version, where they are not in memory. Of a
    robot that is in several versions, the statistics of the run's own count, then those of the first by name."""
    store, output = open_store(request.store), Path(request.output)
    names = (request.version, *other_versions(stage.mixture for stage in config.stages))
    # The run may go on with another version.
    folders = {name: output / f"data-{place.rank}-{name[:16]}" for name in names}
    versions = {name: materialize(store, name, folder, is_table) for name, folder in folders.items()}
    data, supply = dict[str, Episodes](), None
    pictures = sum(decoded_bytes(folders[name], version) for name, version in versions.items())
    for name, version in versions.items():
        if name == request.version and is_streamed(config.feed, pictures, place.room_bytes):
            data[name], supply = _stream(request, config, place, folders[name], version)
        else:
            materialize(store, name, folders[name])
            data[name] = demonstrations(folders[name], version)
    torch.manual_seed(config.seed)
    if request.parent:
        policy = load(Path(request.parent))
    else:
        codecs: dict[str, ActionCodec] = {}
        for name, version in reversed(versions.items()):
            codecs |= stated_codecs(folders[name], version.embodiments, config.model)
        codecs = dict(sorted(codecs.items()))
        robots = {tag: codec.embodiment for tag, codec in codecs.items()}
        said = {tag: [one for items in data.values() for one in items.get(tag, ())] for tag in robots}
        policy = new_policy(said, robots, config.model, corpus, codecs)
    if config.lora.rank:
        adapt(policy, config.lora)
    return data, policy, supply


def _stream(
    request: TrainRequest, config: RunConfig, place: Place, folder: Path, version: DatasetVersion
) -> tuple[Episodes, Supply]:
    """Episodes without pictures, and what brings these."""
    footage, shown = Footage.read(folder, version.embodiments), dict[int, NDArray[np.uint8]]()
    episodes = streamed(folder, version, footage, shown)
    source = Source(
        store_url=open_store(request.store).url,
        footage=footage,
        keys=footage.keys(version),
        decoders=config.feed.decoders,
        world=place.world,
    )
    logger.info("pictures are decoded by Ray Data as they are shown")
    return episodes, RaySupply(source, shown, partial(origin, episodes))


def _export(policy: Policy, output: Path) -> None:
    """The policy folder appears whole or not at all, through to the disk; one that is there was made by these steps."""
    if (output / POLICY).is_dir():
        return
    part = output / f"{POLICY}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    merge(policy)
    save(policy, part)
    shutil.copy(output / RUN, part / TRAINED)
    for path in part.iterdir():
        sync_file(path)
    sync_folder(part)
    part.rename(output / POLICY)
    sync_folder(output)
