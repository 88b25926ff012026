"""One of some workers of a run that may be killed and go on with others.

Every worker writes what it consumed in each step, and its mean loss; the named one kills itself behind the named step.
"""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES
from volano.model.folder import weights
from volano.model.policy import Batch, Policy, Sample
from volano.train.config import RunConfig
from volano.train.loop import train
from volano.train.lora import adapt
from volano.train.stage import Worker

SUCCEEDED = {tag: [replace(episode, succeeded=True) for episode in items] for tag, items in EPISODES.items()}
"""Episodes that can be asked about."""
PLACES = {
    (tag, state.tobytes()): (tag, number, tick)
    for tag, items in EPISODES.items()
    for number, episode in enumerate(items)
    for tick, state in enumerate(episode.state)
}
"""Robot and state to robot, episode and tick: no two ticks of the tests' episodes have the same state."""


def policy_of(run: RunConfig) -> Policy:
    """What a run begins with."""
    policy = tiny_policy(backbone=run.model.backbone)
    torch.manual_seed(run.seed)
    if run.lora.rank:
        adapt(policy, run.lora)
    return policy


def main(rank: int, world: int, output: Path, run: RunConfig, launch: int, kill: tuple[int, int]) -> None:
    """`launch` counts the starts; `kill` names a step and a rank."""
    policy = policy_of(run)
    collate = policy.batch
    consumed: list[tuple[str, int, int]] = []

    def batch(samples: Sequence[Sample]) -> Batch:
        consumed.extend(PLACES[sample.embodiment, sample.state.tobytes()] for sample in samples)
        return collate(samples)

    def record(step: int, metrics: Mapping[str, float]) -> None:
        if (step, rank) == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        line = {"launch": launch, "world": world, "step": step, "loss": metrics["loss"], "samples": consumed}
        with (output / f"rank-{rank}.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        consumed.clear()

    policy.batch = batch  # type: ignore[method-assign]
    worker = Worker(rank=rank, world=world, barrier=torch.distributed.barrier, record=record)
    train(policy, SUCCEEDED, run, output / "checkpoints", worker)
    save_file(weights(policy), output / f"weights-{rank}.safetensors")
