"""One of two workers that train with every part frozen in turn, and on an episode that is not a number, under every
ZeRO stage.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES, RUN, STAGES
from volano.errors import TrainError
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.loop import train
from volano.train.parts import PARTS
from volano.train.stage import Worker

FREEZINGS: tuple[tuple[str, ...], ...] = ((), *((part,) for part in PARTS))
BROKEN = "0123abcd"
_PLAIN = OptimizerConfig(weight_decay=0.0)
"""Nothing decays: that would change everything."""


def changed(folder: Path, frozen: Sequence[str], engine: EngineConfig, worker: Worker) -> list[str]:
    """Names of the parameters that two steps with images change."""
    policy = tiny_policy()
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    stage = replace(STAGES[1], steps=2, frozen=tuple(frozen), optimizer=_PLAIN)
    train(policy, EPISODES, replace(RUN, stages=(stage,), average=0.0, engine=engine), folder, worker)
    return [name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])]


def reason(folder: Path, engine: EngineConfig, worker: Worker) -> str:
    """What a training says to which one episode gives no number; the batch of two leaves most steps of it to one
    worker."""
    action = EPISODES["scout"][1].action.copy()
    action[:] = np.nan
    broken = replace(EPISODES["scout"][1], action=action, episode=BROKEN)
    episodes = {**EPISODES, "scout": [EPISODES["scout"][0], broken]}
    run = replace(RUN, stages=(replace(STAGES[1], batch=2, steps=20),), engine=engine)
    try:
        train(tiny_policy(), episodes, run, folder, worker)
    except TrainError as error:
        return str(error)
    return ""


def main(rank: int, world: int, output: Path) -> None:
    worker = Worker(rank=rank, world=world, barrier=torch.distributed.barrier)
    found = {}
    for zero in range(4):
        engine = EngineConfig(kind="deepspeed", zero_stage=zero)
        found[f"reason {zero}"] = reason(output / f"broken-{zero}", engine, worker)
        for frozen in FREEZINGS:
            name = f"{zero} {'-'.join(frozen)}"
            found[name] = json.dumps(changed(output / name, frozen, engine, worker))
    (output / f"rank-{rank}.json").write_text(json.dumps(found))
