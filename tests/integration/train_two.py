"""One of two workers of a DeepSpeed run on a tiny policy, by `python -m torch.distributed.run --nproc-per-node 2`.

Arguments: OUTPUT KILL_AT; rank 0 kills itself at step KILL_AT, unless that is negative.
"""

import json
import os
import signal
import sys
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


def main() -> None:
    output, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()

    def record(step: int, metrics: Mapping[str, float]) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        with (output / "losses.jsonl").open("a") as stream:
            groups = [value for name, value in metrics.items() if name.startswith("gradient_norm_")]
            stream.write(json.dumps([step, metrics["loss"], metrics["gradient_norm"], groups]) + "\n")

    run = replace(MUON_RUN, engine=EngineConfig(kind="deepspeed", zero_stage=1))
    policy = tiny_policy()
    worker = Worker(rank=rank, world=2, barrier=torch.distributed.barrier, record=record if rank == 0 else None)
    train(policy, EPISODES, run, output / "checkpoints", worker)
    save_file(weights(policy), output / f"weights-{rank}.safetensors")


if __name__ == "__main__":
    main()
