"""One complete run, as data. A recipe is a function that returns one (see `jobs/recipes`)."""

from dataclasses import dataclass, field
from typing import Literal

from volano.data.order import OrderKind
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
    rates: dict[str, float] = field(default_factory=dict)
    """Peak learning rates of single parts (see `parts.PARTS`), where they differ from these."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    decay_vectors: bool = True
    """Whether biases and the scales of norms decay, too."""
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
    passes: int = 1
    """How many times a worker goes forward and backward for its share of them, before one update: more take less
    memory, and change nothing else."""
    images: bool
    """False trains on text and embodiment prompt alone (T2A)."""
    tau: TauDistribution
    frozen: tuple[str, ...] = ()
    """Parts that do not learn (see `parts.PARTS`)."""
    vl_batch: int = 0
    """Questions about pictures per step over all workers, beside the actions; 0 asks none."""
    vl_weight: float = 0.1
    """Weight of their next-token loss (the paper's in supervised fine-tuning)."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of each embodiment in every batch, among the rows of real episodes of a set; 0 takes one out; empty means
    equal shares."""
    mixture: dict[str, float] = field(default_factory=dict)
    """Share of each set in every batch: `episodes`, the dataset version's, `version:ID`, those of another version in
    the same store, and `language_action`, the synthetic corpus; 0 takes one out. Empty means episodes alone."""
    order: OrderKind = "uniform"
    """How it goes through the ticks of episodes: `uniform` shuffles each on its own, `blocks` groups of neighbouring
    ticks, which costs a fraction to decode (see `volano.data.order`)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What drives the optimizer."""

    kind: str = "deepspeed"
    """`plain` for one process, `deepspeed` for any number."""
    zero_stage: int = 1
    """What DeepSpeed splits among the workers: 0 nothing, 1 the optimizer's state, 2 gradients as well, 3 weights as
    well."""
    offload: bool = False
    """Keep the optimizer's state, and its step, in the memory of the hosts. Needs a `zero_stage` above 0."""
    whole_below: int = 100_000
    """Under `zero_stage` 3, weights of at most this many numbers stay whole on every worker: to gather them would take
    longer than it saves."""
    recompute: bool = False
    """Keep no activations within a layer but make them again in the backward pass: a third more arithmetic, a fraction
    of the memory."""
    compile: bool = False
    """Compile the expert's blocks; their first steps take minutes."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products in training (autocast); weights and optimizer stay fp32. A processor without AVX-512 BF16 or
    AMX computes bf16 more slowly than fp32."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on the backbone's language layers."""

    rank: int = 0
    """0 trains the layers themselves; otherwise adapters of this rank, and nothing else of the backbone."""
    alpha: int = 16
    """What an adapter adds is scaled by alpha / rank."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """The synthetic language-action corpus (see `volano.data.language_action`)."""

    trajectories: int = 0
    """0 makes none. Where there are some, their words are in a new tokenizer and their arms' statistics go with the
    policy, whether or not a stage's mixture names them."""
    seed: int = 0
    arms: tuple[str, ...] = ()
    """Tags; empty takes all."""
    families: dict[str, float] = field(default_factory=dict)
    """Share of each family of tasks among a batch's rows of the corpus; 0 takes one out, and so does naming others
    only; empty means equal shares of all."""


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """Where the pictures of episodes come from."""

    kind: Literal["auto", "memory", "ray"] = "auto"
    """`memory` decodes the whole version before the first step, on every worker; `ray` what each step shows, by Ray
    Data, with no copy of the dataset; `auto` takes memory where the decoded version fits in a quarter of a worker's."""
    decoders: int = 1
    """Processes that decode for each worker, under `ray`."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A training run."""

    recipe: str
    model: ModelConfig
    stages: tuple[StageConfig, ...]
    engine: EngineConfig = field(default_factory=EngineConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    feed: FeedConfig = field(default_factory=FeedConfig)
    seed: int = 0
    average: float = 0.999
    """Decay of the exponential moving average whose weights are exported; 0 exports the last weights."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    goes_on: bool = False
    """It means nothing without a policy to start from."""
    held_out: float = 0.0
    """Share of the episodes that is not learned from; their open-loop error is measured at every checkpoint."""
