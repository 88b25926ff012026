"""One of two workers of a DeepSpeed run on a tiny policy, of which rank 0 may kill itself."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES, MUON_RUN
from volano.model.folder import weights
from volano.train.config import EngineConfig
from volano.train.loop import train
from volano.train.stage import Worker


def main(rank: int, world: int, output: Path, kill_at: int) -> None:
    """Rank 0 kills itself at step `kill_at`, unless that is negative."""

    def record(step: int, metrics: Mapping[str, float]) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        with (output / "losses.jsonl").open("a") as stream:
            groups = [value for name, value in metrics.items() if name.startswith("gradient_norm_")]
            stream.write(json.dumps([step, metrics["loss"], metrics["gradient_norm"], groups]) + "\n")

    run = replace(MUON_RUN, engine=EngineConfig(kind="deepspeed", zero_stage=1))
    policy = tiny_policy()
    worker = Worker(rank=rank, world=world, barrier=torch.distributed.barrier, record=record if rank == 0 else None)
    train(policy, EPISODES, run, output / "checkpoints", worker)
    save_file(weights(policy), output / f"weights-{rank}.safetensors")
