"""Which engine a run asks for: what none does is refused before any step, and the others are named and built.

A checkpoint is read by the engine alone that wrote it; `layout` is the name by which they know each other.
"""

import os
from collections.abc import Sequence

import torch

from volano.errors import Code, TrainError
from volano.model.policy import Policy
from volano.train.config import EngineConfig, OptimizerConfig, RunConfig, StageConfig
from volano.train.engine import Engine, PlainEngine
from volano.train.parts import check_optimizer
from volano.train.zero import DeepSpeedEngine
from volano.train.zero_three import SlicedEngine


def check(run: RunConfig, world: int) -> None:
    """Refuse what no engine does, before any step. Raises TrainError: E-TRAIN-004 for a combination of settings,
    E-TRAIN-003 for a batch that would leave a worker without a sample."""
    engine = run.engine
    if engine.kind not in ("plain", "deepspeed"):
        raise TrainError(Code.TRAIN_FAILED, f"unknown engine {engine.kind!r}", "use engine.kind=plain or deepspeed")
    if engine.kind == "plain" and (world > 1 or engine.offload):
        wanted = "offload" if engine.offload else f"{world} workers"
        raise TrainError(Code.TRAIN_FAILED, f"the plain engine knows no {wanted}", "use engine.kind=deepspeed")
    if engine.kind == "deepspeed" and engine.zero_stage not in (0, 1, 2, 3):
        raise TrainError(Code.TRAIN_FAILED, f"there is no ZeRO stage {engine.zero_stage}", "use 0, 1, 2 or 3")
    if engine.offload and not engine.zero_stage:
        raise TrainError(
            Code.TRAIN_FAILED, "DeepSpeed offloads only an optimizer that it splits", "use engine.zero_stage=1, 2 or 3"
        )
    if engine.compile and engine.zero_stage == 3:
        raise TrainError(
            Code.TRAIN_FAILED,
            "compiled blocks would never see that ZeRO 3 gathers their weights",
            "use engine.zero_stage=2, or engine.compile=false",
        )
    if run.feed.decoders < 1:
        raise TrainError(
            Code.TRAIN_FAILED, f"{run.feed.decoders} decoders bring no picture", "use feed.decoders=1 or more"
        )
    for stage in run.stages:
        if stage.passes < 1:
            raise TrainError(
                Code.TRAIN_FAILED, f"stage {stage.name!r} has {stage.passes} passes", "give it one or more"
            )
        check_optimizer(stage.optimizer, stage.frozen)
        for count in (stage.batch, *([stage.vl_batch] if stage.vl_batch else [])):
            if count < world * stage.passes:
                passes = f" in {stage.passes} passes" if stage.passes > 1 else ""
                raise TrainError(
                    Code.TRAIN_DATA,
                    f"{count} samples a step in stage {stage.name!r} leave some of {world} workers{passes} without any",
                    f"use at most {count // stage.passes} workers, or larger batches",
                )


def layout(engine: EngineConfig, stage: StageConfig) -> str:
    """What a checkpoint's files look like inside; only the same engine over the same parameters reads them."""
    kind = f"deepspeed zero-{engine.zero_stage}" if engine.kind == "deepspeed" else engine.kind
    words = [kind, stage.optimizer.kind]
    words += ["offload"] if engine.offload else []
    words += [] if stage.optimizer.decay_vectors else ["vectors apart"]
    words += [f"without {', '.join(sorted(stage.frozen))}"] if stage.frozen else []
    return " ".join(words)


def build_engine(
    policy: Policy,
    config: OptimizerConfig,
    engine: EngineConfig,
    *,
    batch: int,
    passes: int = 1,
    frozen: Sequence[str],
    resized: bool = False,
) -> Engine:
    """The engine a checked run asks for; `deepspeed` needs an initialised process group. With `resized` it can
    `load_resized`, and not `load`."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    if engine.kind == "plain":
        return PlainEngine(policy, config, frozen=frozen)
    if engine.zero_stage == 3:
        return SlicedEngine(policy, config, engine, batch=batch, passes=passes, frozen=frozen, resized=resized)
    return DeepSpeedEngine(policy, config, engine, batch=batch, passes=passes, frozen=frozen, resized=resized)
