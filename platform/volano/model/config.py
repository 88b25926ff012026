"""The shape of a Qwen-VLA, as data. Nano and 4B differ in these numbers only.

Fields that the paper (arXiv 2605.30280) leaves open say so; their defaults are the literal reading where there is one.
"""

from dataclasses import dataclass, field
from typing import Literal

PromptOrder = Literal["images_first", "prompt_first"]
TauDistribution = Literal["logit_normal", "beta_clean", "beta_noisy"]


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Vision tower of a randomly initialised backbone."""

    depth: int
    width: int
    heads: int
    patch_size: int
    """Pixels per patch side; `merge` x `merge` patches become one token."""
    merge: int = 2
    temporal_patch: int = 2


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The vision-language model: a transformers class, from a folder or randomly initialised."""

    folder: str = ""
    """Local folder or hub identifier of pretrained weights; empty builds random weights of the fields below."""
    width: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    """Upper bound on tokens; the tokenizer that travels with the policy is trained up to it."""
    rope_sections: tuple[int, int, int]
    """Rotary pairs per head for (time, height, width); their sum is half of `head_width`."""
    rope_theta: float = 1e6
    spread: float = 0.02
    """Standard deviation of random weights; narrow networks want about 1 / sqrt(width)."""
    vision: VisionConfig


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """The single-stream diffusion transformer. The paper fixes 16 blocks of 30 h^2 weights; the split is open."""

    width: int
    blocks: int
    heads: int
    mlp: Literal["swiglu", "gelu"] = "swiglu"
    mlp_width: int
    modulation: Literal["zero", "scale_shift"] = "zero"
    """`zero`: AdaLN-Zero, six vectors per block; `scale_shift`: two, before the attention."""
    rope_sections: tuple[int, int, int]
    """Rotary pairs for (time, height, width); at most half of a head in all, the rest of a head stays unrotated."""
    rope_theta: float = 1e4
    time_features: int = 256


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Flow matching with tau = 0 clean and tau = 1 noise."""

    integration_steps: int = 4
    """Euler steps from noise to action; the paper says "a few"."""
    draws: int = 1
    """Noise draws per pass of the backbone in training: more of them steady the gradient at the expert's cost."""
    mask_padded_noise: bool = False
    """Zero the noise on padded cells; False is the literal formula."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole policy network."""

    channels: int
    """K, width of the unified action tensor; each embodiment fills its leading channels."""
    horizon: int
    """H, rows of the unified action tensor."""
    state_input: Literal["none", "continuous"] = "none"
    """Proprioception: none (the paper's default) or one token in the expert (its ablation)."""
    state_channels: int = 16
    """Width of the zero-padded state vector when `state_input` is `continuous`."""
    order: PromptOrder = "images_first"
    """The paper's text prepends the prompt, its figure draws images first."""
    backbone: BackboneConfig
    expert: ExpertConfig
    flow: FlowConfig = field(default_factory=FlowConfig)
