"""Whether the workers of a run have the memory that its plan asks for: said before any of them starts.

Functions of numbers, without torch. What is refused would not have fitted by the plan's own reckoning; what a worker
needs beside it (episodes, other programs) is not in it, so not everything that is let through fits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from volano.errors import Code, TrainError
from volano.model.config import ModelConfig
from volano.train.activations import Numerics
from volano.train.config import RunConfig, StageConfig
from volano.train.plan import GB, ZERO_STAGES, Assumptions, StateBytes, Weights, option_of

_SLACK = 1.1
"""Over what `bound` counts: vectors, positions, adapters."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory for one worker."""

    gb: float
    is_host: bool
    """Of the machine; otherwise of a GPU, beside which there is the machine's."""
    what: str
    """Where it is, in words."""


def on_processors(run: RunConfig) -> Assumptions:
    """What a worker without a GPU keeps: all in fp32, and a copy of all that it writes into a checkpoint."""
    deepspeed = run.engine.kind == "deepspeed"
    bf16 = run.engine.precision == "bf16"
    return Assumptions(
        context_gb=0.5,
        bucket_gb=0.0,
        gathered_gb=0.0,
        fragmentation=0.0,
        state=StateBytes(weight=4, gradient=4, master=4 if deepspeed else 0, moments=8, update=0, copied=True),
        numerics=Numerics(compute=2 if bf16 else 4, layer_norm=2 if bf16 else 4, attention="math"),
    )


def bound(model: ModelConfig) -> Weights:
    """More weights than a network of these numbers has, without building it."""
    backbone, expert = model.backbone, model.expert
    linear, tower, width = backbone.linear, backbone.vision, backbone.width
    attention = 6 * backbone.heads * backbone.head_width
    if backbone.family == "qwen3_5":
        gated = (2 * linear.key_heads + 3 * linear.value_heads) * linear.head_width + 2 * linear.value_heads
        attention = max(attention, gated)
    language = backbone.layers * width * (attention + 3 * backbone.mlp_width)
    window = tower.merge**2 * tower.width
    mergers = (1 + len(tower.deep_layers)) * window * (window + width)
    patch = 3 * tower.temporal_patch * tower.patch_size**2 * tower.width
    wide = tower.mlp_width or 4 * tower.width
    vision = tower.depth * tower.width * (4 * tower.width + 3 * wide) + patch + tower.positions * tower.width + mergers
    embeddings = 2 * backbone.vocabulary * width
    block = 10 * expert.width**2 + 3 * expert.width * expert.mlp_width
    edges = expert.width * (6 * expert.width + width + 2 * model.channels + model.state_channels + expert.time_features)
    language, vision, embeddings = (math.ceil(_SLACK * count) for count in (language, vision, embeddings))
    return Weights(
        expert=math.ceil(_SLACK * (expert.blocks * block + edges)),
        backbone=language + vision + embeddings,
        language_matrices=language,
        vision=vision,
        embeddings=embeddings,
    )


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A run, held against its workers' memory."""

    run: RunConfig
    weights: Weights
    assumed: Assumptions
    room: Room
    workers: int

    def check(self) -> None:
        """Raises TrainError(E-TRAIN-005), with numbers and what to change, for the first stage that needs more than a
        worker has."""
        engine, zero = self.run.engine, self._zero_stages()[0]
        for number, stage in enumerate(self.run.stages):
            needs = self._needs(stage, zero, engine.offload, engine.recompute, stage.passes)
            if needs > self.room.gb * GB:
                raise TrainError(
                    Code.TRAIN_MEMORY,
                    f"stage {stage.name!r} needs {needs / GB:.2f} GB for each of {self.workers} workers, with "
                    f"{self._samples(stage, stage.passes)} samples in a pass, and there are {self.room.gb:.2f} GB "
                    f"({self.room.what})",
                    f"{self._advice(number)}; --ignore-memory starts it all the same",
                )

    def _needs(self, stage: StageConfig, zero: int, offload: bool, recompute: bool, passes: int) -> float:
        """Bytes of a worker at its fullest."""
        offload = offload and not self.room.is_host
        option = option_of(
            self.run.model, stage, self.weights, self.assumed, zero, offload, recompute, self.workers, self.room.gb
        )
        return option.memory(self._samples(stage, passes))

    def _samples(self, stage: StageConfig, passes: int) -> int:
        """In a worker's largest pass."""
        return -(-stage.batch // (self.workers * passes))

    def _zero_stages(self) -> Sequence[int]:
        """The one that the run has, and those that share out more."""
        engine = self.run.engine
        return [zero for zero in ZERO_STAGES if zero >= engine.zero_stage] if engine.kind == "deepspeed" else [0]

    def _advice(self, number: int) -> str:
        """The mildest change with which the stage would fit."""
        stage, engine = self.run.stages[number], self.run.engine
        for offload in (engine.offload, True):
            for zero in self._zero_stages():
                for recompute in (engine.recompute, True):
                    for passes in self._passes(stage):
                        fits = self._needs(stage, zero, offload, recompute, passes) <= self.room.gb * GB
                        if fits and (zero or not offload) and not (offload and self.room.is_host):
                            changes = [
                                *(["engine.recompute=true"] if recompute != engine.recompute else []),
                                *([f"engine.zero_stage={zero}"] if zero != self._zero_stages()[0] else []),
                                *(["engine.offload=true"] if offload != engine.offload else []),
                                *([f"stages.{number}.passes={passes}"] if passes != stage.passes else []),
                            ]
                            return f"use {' '.join(changes)}, or workers with more memory"
        return "take workers with more memory, or more of them"

    def _passes(self, stage: StageConfig) -> Iterator[int]:
        """As many as the stage has, twice as many, and so on while every worker has samples of all kinds in each."""
        least, passes = min(stage.batch, stage.vl_batch or stage.batch), stage.passes
        while passes * self.workers <= least:
            yield passes
            passes *= 2
