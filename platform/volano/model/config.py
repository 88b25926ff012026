"""The shape of a Qwen-VLA, as data. Nano and 4B differ in these numbers only.

Fields that the paper (arXiv 2605.30280) leaves open say so; their defaults are the literal reading where there is one.
"""

from dataclasses import dataclass, field
from typing import Literal

PromptOrder = Literal["images_first", "prompt_first"]
TauDistribution = Literal["logit_normal", "beta_clean", "beta_noisy"]
PromptKind = Literal["embodiment", "constant"]
PathFrame = Literal["step", "anchored"]
Attention = Literal["joint", "prefix"]
BackboneFamily = Literal["qwen3_5", "qwen3_vl", "qwen2_5_vl"]


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Vision tower of a backbone."""

    depth: int
    width: int
    heads: int
    patch_size: int
    """Pixels per patch side; `merge` x `merge` patches become one token."""
    merge: int = 2
    temporal_patch: int = 2
    mlp_width: int = 0
    """0 stands for four times the width."""
    positions: int = 256
    """Learned positions, a square grid that is stretched over an image; Qwen2.5-VL has none."""
    deep_layers: tuple[int, ...] = ()
    """Qwen3-VL: layers whose features also enter the language model. Qwen2.5-VL: layers that see the whole image."""
    window: int = 112
    """Qwen2.5-VL: pixels per side of what the other layers see."""


@dataclass(frozen=True, kw_only=True)
class LinearAttentionConfig:
    """The gated linear attention of Qwen3.5's layers."""

    full_every: int = 4
    """Each layer whose number this divides has softmax attention instead."""
    key_heads: int = 16
    value_heads: int = 32
    head_width: int = 128
    kernel: int = 4
    """Ticks of the causal convolution before the attention."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The vision-language model: a transformers class of these numbers."""

    family: BackboneFamily = "qwen3_vl"
    pretrained: str = ""
    """Local folder or hub identifier of weights and tokenizer to start from; its numbers must be the ones here."""
    hidden_layer: int = -1
    """Whose states the expert reads; the last (the paper says only that it is one)."""
    width: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    """Upper bound on tokens; the tokenizer that travels with the policy is trained up to it."""
    rope_sections: tuple[int, int, int]
    """Rotary pairs per head for (time, height, width); their sum is half of `head_width`, or less in Qwen3.5, which
    leaves the rest of a head unrotated."""
    rope_theta: float = 1e6
    tied: bool = True
    """Whether the words' embedding is also the language-model head."""
    linear: LinearAttentionConfig = field(default_factory=LinearAttentionConfig)
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
    action_positions: Literal["continue", "restart"] = "continue"
    """Of the action tokens: behind the last of the prompt, or from zero (the paper leaves it open)."""
    attention: Attention = "joint"
    """`joint`: every token sees every other; `prefix`: the prompt's tokens see each other only (open as well)."""
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
    mask_loss: bool = True
    """Count valid cells only, as the paper does; False asks for zeros on all others, as code without masks does."""
    trained_prefix: int = 0
    """Most rows that training gives clean and asks nothing of, so that a chunk can go on from actions under way without
    guidance (arXiv 2512.05964, not of the paper); 0 trains as the paper does."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole policy network."""

    channels: int
    """K, width of the unified action tensor; each embodiment fills its leading channels."""
    horizon: int
    """H, rows of the unified action tensor."""
    state_input: Literal["none", "text", "continuous"] = "none"
    """Proprioception: none (the paper's default), 256 bins per channel as words of the prompt, or one token in the
    expert (both are ablations of the paper)."""
    state_channels: int = 16
    """Most state channels of an embodiment; the expert's state token is zero-padded to it."""
    path_frame: PathFrame = "step"
    """What the rows of a planar path are to the network: motions from tick to tick, or poses seen from the first (the
    paper leaves it open)."""
    order: PromptOrder = "images_first"
    """The paper's text prepends the prompt, its figure draws images first."""
    prompt: PromptKind = "embodiment"
    """`embodiment` names robot, rate and horizon, as the paper does; `constant` is the same for every robot,
    to measure what that is worth."""
    backbone: BackboneConfig
    expert: ExpertConfig
    flow: FlowConfig = field(default_factory=FlowConfig)
