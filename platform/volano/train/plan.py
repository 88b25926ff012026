"""What a training run needs before anybody pays for it: memory, traffic, time. Functions of numbers, without torch.

Every assumption is a field of `Assumptions`. Memory is what one GPU holds at its fullest: what a ZeRO stage leaves on
it, and either the activations or what the update needs, whichever is larger. A step lasts as long as its computing or
its traffic, whichever is longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from volano.errors import Code, ConfigError, TrainError
from volano.model.config import ModelConfig
from volano.train.activations import Numerics, SampleShape, activations
from volano.train.config import RunConfig, StageConfig
from volano.train.flops import flops
from volano.train.parts import is_backbone_frozen

GB = 1e9
ZERO_STAGES = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class StateBytes:
    """Bytes per weight of what outlives a step."""

    weight: int = 2
    """bf16."""
    gradient: int = 2
    """bf16."""
    master: int = 4
    """The fp32 weights that the optimizer updates; 0 where the weights themselves are fp32."""
    moments: int = 8
    """AdamW's two, in fp32; Muon keeps one for its matrices, which is not subtracted."""
    average: int = 4
    """The moving average in fp32; 0 takes it off the GPU."""
    update: int = 4
    """This rank's gradients in fp32, for the length of the update."""
    copied: bool = False
    """Whether the copy of what a checkpoint writes is in the same memory: on a host."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a recipe does not say."""

    images: int = 2
    """Per sample, in stages with images."""
    image_height: int = 256
    image_width: int = 256
    """Pixels."""
    prompt_tokens: int = 64
    utilisation: float = 0.35
    """Share of the peak that executed operations reach over a step whose traffic is hidden."""
    peak_tflops: float = 989.0
    """Of one GPU, dense bf16."""
    link_gb_per_s: float = 50.0
    """What one rank sends while all do."""
    context_gb: float = 2.0
    """Reserve for CUDA, kernels and communicators."""
    bucket_gb: float = 2.0
    """DeepSpeed's default buckets: 500 million bf16 numbers to gather into and as many to reduce; none at stage 0."""
    gathered_gb: float = 2.0
    """At stage 3: a thousand million bf16 weights at a time are whole, DeepSpeed's default, or all there are."""
    fragmentation: float = 0.05
    """Share of the GPU's memory that the allocator cannot use."""
    state: StateBytes = field(default_factory=StateBytes)
    numerics: Numerics = field(default_factory=Numerics)

    def __post_init__(self) -> None:
        """Raises ConfigError(E-CONFIG-003) for rates and sizes that nothing can be divided by."""
        for name in ("image_height", "image_width", "prompt_tokens", "utilisation", "peak_tflops", "link_gb_per_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(Code.CONFIG_VALUE, f"{name} = {getattr(self, name)}", "it must be above zero")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of a network."""

    expert: int
    backbone: int
    language_matrices: int
    """Those of the backbone's that stand in matrices of its language layers."""
    vision: int = 0
    """Those of the backbone's in the vision tower and its connector."""
    embeddings: int = 0
    """Those of the backbone's in words and head."""
    adapters: int = 0
    """Low-rank ones beside the language layers', which learn in the backbone's stead."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.expert + self.backbone

    def trained(self, frozen: Sequence[str]) -> int:
        """Those with gradients and optimizer state; a connector that learns alone is counted as the whole tower."""
        language = self.adapters or self.backbone - self.vision - self.embeddings
        found = 0 if "expert" in frozen else self.expert
        found += 0 if "language" in frozen else language
        if not self.adapters:
            found += 0 if {"vision", "connector"} <= set(frozen) else self.vision
            found += 0 if "embeddings" in frozen else self.embeddings
        return found


@dataclass(frozen=True, kw_only=True)
class States:
    """Bytes on one rank, whatever the batch."""

    weights: float
    gradients: float
    optimizer: float
    """Master weights and moments; on the host with offload."""
    average: float
    update: float
    copy: float
    """Of what rank 0, which writes most, writes at a checkpoint; kept from the first one on."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to hold a stage on its GPUs."""

    zero_stage: int
    offload: bool
    checkpointing: bool
    states: States
    reserve: float
    activations_per_sample: float
    micro_batch: int
    """Largest number of samples in one pass, at most a rank's share of the batch; 0 does not fit."""

    def memory(self, samples: int) -> float:
        """Bytes on the GPU at the fullest, with `samples` in one pass."""
        states = self.states
        kept = states.weights + states.gradients + states.average + states.copy
        kept += 0.0 if self.offload else states.optimizer
        return kept + self.reserve + max(samples * self.activations_per_sample, states.update)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of the optimizer takes."""

    passes: int
    """More than one must be accumulated."""
    traffic: float
    """Bytes that one rank sends."""
    flops_per_sample: float
    """Executed ones, with those that checkpointing repeats."""
    compute_s: float
    """At the assumed utilisation."""
    traffic_s: float
    """At the assumed link; hidden behind the computing as far as that lasts."""

    @property
    def seconds(self) -> float:
        """Of the whole step; what offload costs is not in it."""
        return max(self.compute_s, self.traffic_s)


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of a recipe on its GPUs."""

    name: str
    share: int
    """Samples of a step on each rank."""
    options: tuple[Option, ...]
    chosen: Option
    configured: Option
    """What the recipe's engine does."""
    passes: int
    """In which the recipe takes a rank's share."""
    step: Step
    """Of the chosen option."""
    samples_per_s: float
    days: float

    @property
    def cannot(self) -> tuple[int, ...]:
        """ZeRO stages that hold not even one sample, whatever is offloaded or checkpointed."""
        return tuple(z for z in ZERO_STAGES if not any(o.micro_batch for o in self.options if o.zero_stage == z))


def states(
    weights: Weights,
    bytes_of: StateBytes,
    *,
    frozen: Sequence[str],
    zero_stage: int,
    ranks: int,
    offload: bool = False,
) -> States:
    """What one rank keeps: from ZeRO stage 1 the optimizer, from 2 the gradients, at 3 weights and average are shared
    out.

    The update's fp32 gradients are on the host when the optimizer is; weights that are updated in fp32 need none.
    """
    trained = weights.trained(frozen)
    owned = trained / ranks if zero_stage >= 1 else float(trained)
    held = weights.total / (ranks if zero_stage == 3 else 1)
    optimizer = (bytes_of.master + bytes_of.moments) * owned
    whole = float(bytes_of.average * weights.total)  # written whole
    written = optimizer + whole + (bytes_of.weight * held if zero_stage < 3 else 0.0)  # ZeRO 3 writes masters alone
    return States(
        weights=bytes_of.weight * held,
        gradients=bytes_of.gradient * (owned if zero_stage >= 2 else trained),
        optimizer=optimizer,
        average=bytes_of.average * held,
        update=0.0 if offload or not bytes_of.master else bytes_of.update * owned,
        copy=written if bytes_of.copied else 0.0,
    )


def traffic(
    weights: Weights, bytes_of: StateBytes, *, frozen: Sequence[str], zero_stage: int, ranks: int, passes: int
) -> float:
    """Bytes that one rank sends per step, by rings: gradients summed (stage 2 and 3: in every pass) and weights
    gathered (stage 1 and 2: once after the update; stage 3: before both halves of every pass)."""
    ring = (ranks - 1) / ranks
    gradients = ring * bytes_of.gradient * weights.trained(frozen)
    updated = ring * bytes_of.weight * weights.trained(frozen)
    if zero_stage == 0:
        return 2 * gradients
    if zero_stage < 3:
        return gradients * (passes if zero_stage == 2 else 1) + updated
    everything = ring * bytes_of.weight * weights.total
    return passes * (gradients + everything + (updated if is_backbone_frozen(frozen) else everything))


def plan(run: RunConfig, weights: Weights, assumed: Assumptions, *, gpus: int, gpu_memory_gb: float) -> list[StagePlan]:
    """Every stage of a run. Raises TrainError: E-TRAIN-003 when a batch does not divide by the GPUs, E-TRAIN-005 when
    nothing holds a stage."""
    return [plan_stage(run, stage, weights, assumed, gpus=gpus, gpu_memory_gb=gpu_memory_gb) for stage in run.stages]


def plan_stage(
    run: RunConfig, stage: StageConfig, weights: Weights, assumed: Assumptions, *, gpus: int, gpu_memory_gb: float
) -> StagePlan:
    """One stage of a run; raises like `plan`."""
    if gpus < 1 or stage.batch % gpus:
        raise TrainError(
            Code.TRAIN_DATA,
            f"stage {stage.name}: a batch of {stage.batch} does not divide by {gpus} GPUs",
            "change batch or GPUs",
        )
    share, shape = stage.batch // gpus, shape_of(stage, assumed)
    options = tuple(
        option_of(run.model, stage, weights, assumed, zero, offload, checkpointing, gpus, gpu_memory_gb)
        for offload in (False, True)
        for checkpointing in (False, True)
        for zero in ZERO_STAGES
        if zero or not offload  # DeepSpeed offloads what a rank owns, from stage 1
    )
    steps = [_step(run, stage, weights, assumed, shape, option, gpus) for option in options]
    number = choose(options, [step.seconds for step in steps], share)
    if number is None:
        least = min(options, key=lambda option: option.memory(1))
        raise TrainError(
            Code.TRAIN_MEMORY,
            f"stage {stage.name}: no ZeRO stage holds it on {gpus} GPUs of {gpu_memory_gb:g} GB; the least, ZeRO "
            f"{least.zero_stage} with offload and checkpointing, takes {least.memory(1) / GB:.1f} GB for one sample",
            "take GPUs with more memory, or more of them",
        )
    asked = (run.engine.zero_stage, run.engine.offload, run.engine.recompute)
    return StagePlan(
        name=stage.name,
        share=share,
        options=options,
        chosen=options[number],
        configured=next(o for o in options if (o.zero_stage, o.offload, o.checkpointing) == asked),
        passes=stage.passes,
        step=steps[number],
        samples_per_s=stage.batch / steps[number].seconds,
        days=stage.steps * steps[number].seconds / 86400,
    )


def _step(
    run: RunConfig,
    stage: StageConfig,
    weights: Weights,
    assumed: Assumptions,
    shape: SampleShape,
    option: Option,
    gpus: int,
) -> Step:
    frozen, share = stage.frozen, stage.batch // gpus
    passes = -(-share // max(1, option.micro_batch))
    sent = traffic(weights, assumed.state, frozen=frozen, zero_stage=option.zero_stage, ranks=gpus, passes=passes)
    counted = flops(run.model, shape, weights.language_matrices)
    again = counted.expert + counted.expert_attention if is_backbone_frozen(frozen) else counted.forward
    executed = counted.trained(frozen, adapted=bool(run.lora.rank)) + (again if option.checkpointing else 0.0)
    return Step(
        passes=passes,
        traffic=sent,
        flops_per_sample=executed,
        compute_s=share * executed / (assumed.peak_tflops * 1e12 * assumed.utilisation),
        traffic_s=sent / (assumed.link_gb_per_s * GB),
    )


def shape_of(stage: StageConfig, assumed: Assumptions) -> SampleShape:
    """What a sample of a stage is assumed to be."""
    return SampleShape(
        images=assumed.images if stage.images else 0,
        image_height=assumed.image_height,
        image_width=assumed.image_width,
        prompt_tokens=assumed.prompt_tokens,
    )


def choose(options: Sequence[Option], seconds: Sequence[float], share: int) -> int | None:
    """Number of the option to take; None when nothing fits.

    Of those that take a rank's whole share in one pass, without offload if there are any, the one with the shortest
    step, else the one with the largest micro batch; the first of equals."""
    whole = [number for number, option in enumerate(options) if option.micro_batch >= share]
    if whole:
        return min(whole, key=lambda number: (options[number].offload, seconds[number]))
    best = max(range(len(options)), key=lambda number: options[number].micro_batch)
    return best if options[best].micro_batch else None


def option_of(
    model: ModelConfig,
    stage: StageConfig,
    weights: Weights,
    assumed: Assumptions,
    zero_stage: int,
    offload: bool,
    checkpointing: bool,
    gpus: int,
    gpu_memory_gb: float,
) -> Option:
    """One way to hold a stage, with the largest micro batch that it leaves room for."""
    frozen, whole, shape = stage.frozen, is_backbone_frozen(stage.frozen), shape_of(stage, assumed)
    left = activations(model, shape, assumed.numerics, batch=1, frozen=whole, checkpointing=checkpointing)
    one = left.total - (left.vision if weights.adapters or {"vision", "connector"} <= set(frozen) else 0.0)
    kept = states(weights, assumed.state, frozen=frozen, zero_stage=zero_stage, ranks=gpus, offload=offload)
    reserve = assumed.context_gb + assumed.fragmentation * gpu_memory_gb
    reserve += assumed.bucket_gb if zero_stage else 0.0
    if zero_stage == 3:
        reserve += min(assumed.gathered_gb, assumed.state.weight * weights.total / GB)
    empty = Option(
        zero_stage=zero_stage,
        offload=offload,
        checkpointing=checkpointing,
        states=kept,
        reserve=reserve * GB,
        activations_per_sample=one,
        micro_batch=0,
    )
    free = gpu_memory_gb * GB - empty.memory(0)
    room = int((free + kept.update) // one) if free >= 0 else 0
    return replace(empty, micro_batch=min(room, stage.batch // gpus))
