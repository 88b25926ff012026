"""One complete run, as data. A recipe is a function that returns one (see `jobs/recipes`)."""

from dataclasses import dataclass, field
from typing import Literal

from volano.model.config import ModelConfig, TauDistribution


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer with cosine decay and separate groups for backbone and expert (paper section 5: AdamW; values are
    open)."""

    kind: Literal["adamw", "muon"] = "adamw"
    """`muon` orthogonalizes the updates of the matrices inside the network and leaves the rest to AdamW; it bears no
    clipping, since DeepSpeed would clip what is orthogonal already."""
    matrix_rate: float = 0.01
    """Peak learning rate of those matrices under `muon`."""
    backbone_rate: float = 1e-3
    expert_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    warmup_share: float = 0.05
    """Share of the stage's steps with linear warm-up."""
    final_share: float = 0.05
    """Learning rate at the end, as a share of the peak."""
    clip: float = 1.0
    """Largest global norm of the gradient; 0 does not clip."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One training stage."""

    name: str
    steps: int
    batch: int
    """Samples per step over all workers."""
    images: bool
    """False trains on text and embodiment prompt alone (T2A)."""
    freeze_backbone: bool
    tau: TauDistribution
    shares: dict[str, float] = field(default_factory=dict)
    """Share of each embodiment in every batch; empty means equal shares."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What drives the optimizer."""

    kind: str = "deepspeed"
    """`plain` for one process, `deepspeed` for any number."""
    zero_stage: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products in training (autocast); weights and optimizer stay fp32. A processor without AVX-512 BF16 or
    AMX computes bf16 more slowly than fp32."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A training run."""

    recipe: str
    model: ModelConfig
    stages: tuple[StageConfig, ...]
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0
    average: float = 0.999
    """Decay of the exponential moving average whose weights are exported; 0 exports the last weights."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
