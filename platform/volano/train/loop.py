"""The training loop, readable in one sitting. It knows no Ray: workers, barrier and journal come as arguments.

Every random draw is a function of (seed, stage, step, rank), every batch of (seed, stage, step): a run that is
killed and goes on from its newest complete checkpoint consumes exactly the samples it would have consumed.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from volano.errors import Code, TrainError
from volano.model.folder import load_weights, weights
from volano.model.policy import Policy, Sample
from volano.train.checkpoint import Checkpoint, commit, folder_of, newest
from volano.train.config import RunConfig, StageConfig
from volano.train.engine import Engine, build_engine, computing
from volano.train.feed import Demonstration, Feed
from volano.train.optim import rate_scale

logger = logging.getLogger(__name__)
AVERAGE = "average.safetensors"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """This process among the run's workers."""

    rank: int = 0
    world: int = 1
    barrier: Callable[[], None] = lambda: None
    record: Callable[[int, Mapping[str, float]], None] | None = None
    """Called on rank 0 with the step of the whole run and its metrics."""


def train(
    policy: Policy, episodes: Mapping[str, Sequence[Demonstration]], run: RunConfig, folder: Path, worker: Worker
) -> None:
    """Run every stage that is not done yet; the policy ends with the averaged weights.

    `folder` holds the checkpoints and is shared by all workers.
    """
    average = {name: tensor.detach().clone() for name, tensor in weights(policy).items()}
    start = newest(folder)
    for number, stage in enumerate(run.stages):
        if start is not None and (start.stage, start.step) >= (number, stage.steps):
            average.update(load_file(start.folder / AVERAGE))
            load_weights(policy, average)
            continue
        engine = build_engine(
            policy, stage.optimizer, run.engine, batch=stage.batch, freeze_backbone=stage.freeze_backbone
        )
        done = _restore(start, number, engine, average, worker)
        _run_stage(policy, episodes, run, number, done, engine, average, folder, worker)
        load_weights(policy, average)


def _run_stage(
    policy: Policy,
    episodes: Mapping[str, Sequence[Demonstration]],
    run: RunConfig,
    number: int,
    done: int,
    engine: Engine,
    average: dict[str, Tensor],
    folder: Path,
    worker: Worker,
) -> None:
    stage = run.stages[number]
    before = sum(earlier.steps for earlier in run.stages[:number])
    feed = Feed(
        episodes,
        policy.codecs,
        shares=stage.shares,
        batch=stage.batch,
        images=stage.images,
        seed=run.seed * 1000 + number,
    )
    generator = torch.Generator()
    policy.train()
    for step in range(done, stage.steps):
        begun = time.perf_counter()
        samples = feed.samples(step, worker.rank, worker.world)
        waited = time.perf_counter() - begun
        generator.manual_seed(_draw_seed(run.seed, number, step, worker.rank))
        scale = rate_scale(step, stage.steps, stage.optimizer)
        with computing(run.engine):
            losses = policy.loss(policy.batch(samples), stage.tau, generator, freeze_backbone=stage.freeze_backbone)
            norm = engine.step(_finite(losses, samples), scale)
        _advance(average, policy, _decay(run.average, before + step))
        seconds = time.perf_counter() - begun
        last = step + 1 == stage.steps
        if worker.record is not None and (step % run.log_every == 0 or last):
            worker.record(before + step, _metrics(losses, samples, stage, norm, scale, seconds, waited))
        if (step + 1) % run.checkpoint_every == 0 or last:
            _checkpoint(folder, number, step + 1, engine, average, worker)


def _checkpoint(root: Path, stage: int, step: int, engine: Engine, average: dict[str, Tensor], worker: Worker) -> None:
    folder = folder_of(root, stage, step)
    folder.mkdir(parents=True, exist_ok=True)
    engine.save(folder)
    if worker.rank == 0:
        save_file(average, folder / AVERAGE)
    worker.barrier()
    if worker.rank == 0:
        commit(root, stage=stage, step=step, world=worker.world)
        logger.info("checkpoint: stage %d, step %d", stage, step)
    worker.barrier()


def _restore(start: Checkpoint | None, number: int, engine: Engine, average: dict[str, Tensor], worker: Worker) -> int:
    """Bring engine and average to `start` when it is of this stage; the step to go on from."""
    if start is None or start.stage != number:
        return 0
    if start.world != worker.world:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            f"the checkpoint was written by {start.world} workers, this run has {worker.world}",
            "start it with the same number of workers",
        )
    engine.load(start.folder)
    average.update(load_file(start.folder / AVERAGE))
    logger.info("resuming stage %d at step %d", start.stage, start.step)
    return start.step


def _draw_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _finite(losses: Tensor, samples: Sequence[Sample]) -> Tensor:
    loss = losses.mean()
    if not math.isfinite(float(loss.detach())):
        broken = sorted({s.embodiment for s, x in zip(samples, losses.tolist(), strict=True) if not math.isfinite(x)})
        raise TrainError(
            Code.TRAIN_NOT_FINITE,
            f"the loss is not finite (embodiments: {', '.join(broken)})",
            "lower the learning rate, or look for broken episodes in the dataset version",
        )
    return loss


def _decay(average: float, step: int) -> float:
    """Decay of the moving average: short memory at first, so that early weights are forgotten."""
    return min(average, (1 + step) / (10 + step))


@torch.no_grad()
def _advance(average: dict[str, Tensor], policy: Policy, decay: float) -> None:
    current = weights(policy)
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)


def _metrics(
    losses: Tensor,
    samples: Sequence[Sample],
    stage: StageConfig,
    norm: float,
    scale: float,
    seconds: float,
    waited: float,
) -> dict[str, float]:
    by_robot = defaultdict(list)
    for sample, loss in zip(samples, losses.tolist(), strict=True):
        by_robot[sample.embodiment].append(loss)
    return {
        "loss": float(losses.detach().mean()),
        **{f"loss_{tag}": sum(values) / len(values) for tag, values in sorted(by_robot.items())},
        "gradient_norm": norm,
        "learning_rate": scale * stage.optimizer.expert_rate,
        "samples_per_s": stage.batch / seconds,
        "data_wait_share": waited / seconds,
    }
