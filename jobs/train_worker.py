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
    episodes, policy = _prepare(request, config, rank, corpus)
    journal = Journal(output / JOURNAL) if rank == 0 else None
    worker = Worker(
        rank=rank,
        world=world,
        barrier=torch.distributed.barrier,
        record=journal.append if journal is not None else None,
    )
    train(policy, episodes, config, output / CHECKPOINTS, worker, corpus)
    if rank == 0:
        _export(policy, output)
    torch.distributed.barrier()
    ray.train.report({"done": 1})


def _prepare(
    request: TrainRequest, config: RunConfig, rank: int, corpus: Corpus | None
) -> tuple[dict[str, list[Demonstration]], Policy]:
    """The dataset version in memory, and the policy to train: from the parent, or new with the data's statistics."""
    folder = Path(request.output) / f"data-{rank}-{request.version[:16]}"  # the run may go on with another version
    version = materialize(open_store(request.store), request.version, folder)
    episodes = demonstrations(folder, version)
    torch.manual_seed(config.seed)
    if request.parent:
        policy = load(Path(request.parent))
    else:
        codecs = stated_codecs(folder, version.embodiments, config.model)
        policy = new_policy(episodes, version.embodiments, config.model, corpus, codecs)
    if config.lora.rank:
        adapt(policy, config.lora)
    return episodes, policy


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
