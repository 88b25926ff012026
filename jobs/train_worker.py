"""What one worker of a training does: data and policy in, the library's loop, the policy folder out.

Apart from `jobs.train`, because its imports take ten seconds that neither the command nor Ray's controller should wait.
"""

import shutil
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from jobs.recipes import recipe
from jobs.train_request import TrainRequest
from volano.config import apply
from volano.data.version import materialize
from volano.model.actions import ActionCodec
from volano.model.folder import load, save
from volano.model.policy import Policy
from volano.storage.files import sync_file, sync_folder
from volano.storage.open import open_store
from volano.train.config import RunConfig
from volano.train.corpus import Corpus, make_corpus
from volano.train.dataset import demonstrations, new_policy, stated_codecs
from volano.train.feed import Demonstration
from volano.train.journal import Journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN
from volano.train.loop import train
from volano.train.lora import adapt, merge
from volano.train.sets import other_versions
from volano.train.stage import Worker


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
    data, policy = _prepare(request, config, rank, corpus)
    journal = Journal(output / JOURNAL) if rank == 0 else None
    worker = Worker(
        rank=rank,
        world=world,
        barrier=torch.distributed.barrier,
        record=journal.append if journal is not None else None,
    )
    own = data.pop(request.version)
    train(policy, own, config, output / CHECKPOINTS, worker, corpus, data)
    if rank == 0:
        _export(policy, output)
    torch.distributed.barrier()
    ray.train.report({"done": 1})


def _prepare(
    request: TrainRequest, config: RunConfig, rank: int, corpus: Corpus | None
) -> tuple[dict[str, dict[str, list[Demonstration]]], Policy]:
    """The dataset versions in memory, and the policy to train: from the parent, or new with the data's statistics. Of a
    robot that is in several versions, those of the run's own count, then those of the first by name."""
    store, output = open_store(request.store), Path(request.output)
    names = (request.version, *other_versions(stage.mixture for stage in config.stages))
    folders = {name: output / f"data-{rank}-{name[:16]}" for name in names}  # the run may go on with another version
    versions = {name: materialize(store, name, folder) for name, folder in folders.items()}
    data = {name: demonstrations(folders[name], version) for name, version in versions.items()}
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
    return data, policy


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
