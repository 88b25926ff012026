"""The training loop, readable in one sitting. It knows no Ray: workers, barrier and journal come as arguments.

Every random draw and every batch is a function of (seed, stage, step), whatever the number of workers: a run that is
killed and goes on from its newest complete checkpoint consumes exactly the samples it would have consumed. Any number
of workers may go on; each is given its share of the same batch, and counts by the samples it has.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file

from volano.errors import Code, TrainError
from volano.model.folder import load_weights, weights
from volano.model.policy import Policy
from volano.train.build import build_engine, check, layout
from volano.train.checkpoint import Checkpoint, folder_of, newest
from volano.train.config import RunConfig
from volano.train.corpus import Corpus
from volano.train.elastic import make_universal
from volano.train.feed import Demonstration
from volano.train.film import Supply
from volano.train.held_out import split
from volano.train.peak import peak
from volano.train.stage import Data, Stage, Worker
from volano.train.writer import AVERAGE, CheckpointWriter

logger = logging.getLogger(__name__)
_LAST_WRITE_S = 60.0
"""How long a training that failed waits for the checkpoint that is being written."""


def train(
    policy: Policy,
    episodes: Mapping[str, Sequence[Demonstration]],
    run: RunConfig,
    folder: Path,
    worker: Worker,
    corpus: Corpus | None = None,
    others: Mapping[str, Mapping[str, Sequence[Demonstration]]] = MappingProxyType({}),
    supply: Supply | None = None,
) -> None:
    """Run every stage that is not done yet; the policy ends with the averaged weights.

    `others` are the episodes of the other dataset versions that stages mix, by identifier; `supply` brings the pictures
    of `episodes` that do not hold them. `folder` holds the checkpoints and is shared by all workers. Raises TrainError
    before any step for what no engine does (see `check`), and for a checkpoint of another engine (E-TRAIN-001).
    """
    check(run, worker.world)
    if run.engine.kind == "plain" or run.engine.zero_stage < 3:  # ZeRO 3 trains a copy, and this one stays on the host
        policy.to(_device())
    if run.engine.recompute:
        policy.recompute_activations()
    if run.engine.compile:
        policy.expert.compile_blocks()
    learned, held_out = split(episodes, run.held_out)
    beside = {version: split(items, run.held_out)[0] for version, items in others.items()}
    data = Data(episodes=learned, held_out=held_out, corpus=corpus, others=beside, supply=supply)
    start = newest(folder)
    writer = CheckpointWriter(folder, rank=worker.rank, world=worker.world, barrier=worker.barrier)
    try:
        _run_stages(policy, data, run, start, folder, worker, writer)
    except BaseException:
        writer.abandon(_LAST_WRITE_S)
        raise


def _run_stages(
    policy: Policy,
    data: Data,
    run: RunConfig,
    start: Checkpoint | None,
    folder: Path,
    worker: Worker,
    writer: CheckpointWriter,
) -> None:
    could = peak(_device(), run.engine.precision)
    if worker.rank == 0:
        known = "measured" if could.measured else "by its maker's figure"
        logger.info("a worker's device does %.1f GFLOP/s at best, %s", could.flops_per_s / 1e9, known)
    for number, stage in enumerate(run.stages):
        if start is not None and (start.stage, start.step) >= (number, stage.steps):
            load_weights(policy, load_file(start.folder / AVERAGE))
            continue
        resumed = start if start is not None and start.stage == number else None
        done = _prepare(resumed, run, number, policy, worker)
        average = {name: tensor.detach().clone() for name, tensor in weights(policy).items()}
        engine = build_engine(
            policy,
            stage.optimizer,
            run.engine,
            batch=stage.batch,
            passes=stage.passes,
            frozen=stage.frozen,
            resized=resumed is not None and resumed.world != worker.world,
        )
        average = engine.cut(average)
        if resumed is not None:
            (engine.load if resumed.world == worker.world else engine.load_resized)(resumed.folder)
        Stage(policy, data, run, number, engine, average, worker, writer, could).run(done)
        engine.close()
        writer.finish()
        worker.barrier()
        if stage.steps:
            load_weights(policy, load_file(folder_of(folder, number, stage.steps) / AVERAGE))


def _device() -> torch.device:
    """Where this worker computes."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _prepare(start: Checkpoint | None, run: RunConfig, number: int, policy: Policy, worker: Worker) -> int:
    """Bring the policy to the average of a checkpoint within this stage, and make the checkpoint one that these workers
    can read; the step to go on from."""
    if start is None:
        return 0
    ours = layout(run.engine, run.stages[number])
    if start.layout != ours:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            f"the checkpoint is one of {start.layout or 'an older version'}, this run asks for {ours}",
            "go on with the engine, the optimizer and the frozen parts that wrote it; the next stage may have others",
        )
    load_weights(policy, load_file(start.folder / AVERAGE))  # what a stage does not train stands nowhere else
    if start.world != worker.world:
        logger.info("%d workers go on from a checkpoint of %d", worker.world, start.world)
        if worker.rank == 0 and run.engine.kind == "deepspeed" and run.engine.zero_stage:
            make_universal(start.folder, zero_stage=run.engine.zero_stage, offload=run.engine.offload)
        worker.barrier()
    logger.info("resuming stage %d at step %d", start.stage, start.step)
    return start.step
