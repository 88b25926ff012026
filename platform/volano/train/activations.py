"""What autograd keeps between forward and backward pass, in bytes, as a function of a network's numbers.

It follows what our expert and the transformers library's layers really save, tensor by tensor: a tensor that two
operations save is counted once, weights are not counted. Terms that do not grow with the tokens are left out.
Tests hold it to within a tenth of what is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig

_FP32 = 4
CHUNK = 64
"""Tokens that Qwen3.5's linear attention treats at once."""
_MARKS = 4
"""Tokens around the tokens of each image."""


@dataclass(frozen=True, kw_only=True)
class SampleShape:
    """What one training sample asks of the network; where its images have several sizes, each counts as the first."""

    images: int
    image_height: int
    image_width: int
    prompt_tokens: int
    """Words of the prompt, without those of images."""

    def patches(self, vision: VisionConfig) -> int:
        """Patches of all images of the sample."""
        return self.images * self.patches_of_one(vision)

    def patches_of_one(self, vision: VisionConfig) -> int:
        """Patches of one image."""
        return (self.image_height // vision.patch_size) * (self.image_width // vision.patch_size)

    def tokens(self, vision: VisionConfig) -> int:
        """Tokens of the backbone's sequence."""
        return self.patches(vision) // vision.merge**2 + self.images * _MARKS + self.prompt_tokens


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How forward and backward pass compute."""

    compute: int = 2
    """Bytes of a number in matrix products: 2 in bf16."""
    layer_norm: int = 4
    """Bytes of a number in a LayerNorm: CUDA's autocast computes them in fp32. (RMS norms are fp32 in the library.)"""
    attention: Literal["fused", "math"] = "fused"
    """`fused` kernels keep no table of scores; `math`, which the CPU uses, keeps it, in fp32."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Bytes kept for one pass of a micro batch."""

    vision: float
    language: float
    expert: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.vision + self.language + self.expert


def activations(
    model: ModelConfig,
    shape: SampleShape,
    numerics: Numerics,
    *,
    batch: int,
    frozen: bool,
    checkpointing: bool = False,
) -> Activations:
    """For `batch` samples. A frozen backbone keeps nothing; with `checkpointing` each layer keeps its input and one
    layer at a time is whole."""
    backbone, tokens = model.backbone, shape.tokens(model.backbone.vision)
    rows = model.horizon + (model.state_input == "continuous")
    stream = batch * model.flow.draws * (tokens + rows)
    expert = _stack(
        [stream * _expert_layer(model.expert, tokens + rows, numerics)] * model.expert.blocks,
        stream * model.expert.width * numerics.compute,
        checkpointing,
    )
    edges = (
        batch
        * model.flow.draws
        * (
            tokens * backbone.width * numerics.compute
            + (tokens + rows) * model.expert.width * numerics.layer_norm
            + 7 * rows * model.expert.width * numerics.compute
        )
    )
    if frozen:
        return Activations(vision=0.0, language=0.0, expert=expert + edges)
    text = [batch * tokens * _layer(backbone, number, tokens, numerics) for number in range(backbone.layers)]
    return Activations(
        vision=_vision(backbone, shape, numerics, batch, checkpointing),
        language=_stack(text, batch * tokens * backbone.width * numerics.compute, checkpointing)
        + batch * tokens * backbone.width * (_FP32 + _scaled(backbone, numerics)),
        expert=expert + edges,
    )


def _stack(layers: list[float], given: float, checkpointing: bool) -> float:
    """Bytes of layers in a row, each given `given` bytes by the one before it."""
    if not checkpointing or not layers:
        return float(sum(layers))
    return given * len(layers) + max(layers)


def _scaled(backbone: BackboneConfig, numerics: Numerics) -> int:
    """Bytes of a number between an RMS norm and its weight: Qwen3.5 multiplies in fp32."""
    return _FP32 if backbone.family == "qwen3_5" else numerics.compute


def _layer(backbone: BackboneConfig, number: int, tokens: int, numerics: Numerics) -> float:
    """One layer of the language model, per token: two norms, an attention, a gated feed-forward layer."""
    linear = backbone.family == "qwen3_5" and (number + 1) % backbone.linear.full_every
    mix: Callable[[BackboneConfig, int, Numerics], float] = _linear_attention if linear else _full_attention
    norms = 2 * backbone.width * (_FP32 + _scaled(backbone, numerics) + numerics.compute)
    return norms + mix(backbone, tokens, numerics) + 4 * backbone.mlp_width * numerics.compute


def _full_attention(backbone: BackboneConfig, tokens: int, numerics: Numerics) -> float:
    """Softmax attention; keys and values are repeated for all heads, since padded batches bring a mask."""
    queries, keys = backbone.heads * backbone.head_width, backbone.key_value_heads * backbone.head_width
    attended = _attention(queries, backbone.heads, tokens, numerics)
    if backbone.family == "qwen2_5_vl":
        return attended
    attended += (queries + keys) * (_FP32 + _scaled(backbone, numerics))
    if backbone.family == "qwen3_5":  # an output gate, whose half of the product is kept with the queries' in fp32
        attended += queries * 2 * numerics.compute + (queries * _FP32 if numerics.compute == _FP32 else 0)
    return attended


def _attention(width: int, heads: int, seen: int, numerics: Numerics) -> float:
    """Queries, keys, values, output and what the softmax leaves, per token that sees `seen` tokens."""
    if numerics.attention == "math":
        return 3 * width * _FP32 + heads * seen * _FP32 + width * numerics.compute
    return 4 * width * numerics.compute + heads * _FP32


def _linear_attention(backbone: BackboneConfig, tokens: int, numerics: Numerics) -> float:
    """Qwen3.5's gated delta rule as the library computes it in PyTorch: in fp32, keys repeated for all heads, in chunks
    to which the tokens are padded (where they need no padding it keeps more, up to a tenth of the layer's)."""
    linear = backbone.linear
    values = linear.value_heads * linear.head_width
    mixed = 2 * linear.key_heads * linear.head_width + values
    chunked = -(-tokens // CHUNK) * CHUNK / tokens
    copies, states = (8, 2) if numerics.compute < _FP32 else (3, 0)  # autocast keeps its own copies for the products
    around = 2 * mixed * numerics.compute + values * (5 * _FP32 + 3 * numerics.compute)
    per_chunk: float = values * (6 * _FP32 + copies * numerics.compute)
    per_chunk += linear.value_heads * CHUNK * (2 * _FP32 + 3 * numerics.compute)
    per_chunk += values * linear.head_width / CHUNK * (_FP32 + states * numerics.compute)
    return around + chunked * per_chunk


def _vision(backbone: BackboneConfig, shape: SampleShape, numerics: Numerics, batch: int, checkpointing: bool) -> float:
    vision, count = backbone.vision, batch * shape.patches(backbone.vision)
    layers = [count * _vision_layer(backbone, shape, number, numerics) for number in range(vision.depth)]
    mergers = 1 + (len(vision.deep_layers) if backbone.family == "qwen3_vl" else 0)
    patch = 3 * vision.temporal_patch * vision.patch_size**2
    edges = patch * numerics.compute + vision.width * (numerics.layer_norm + 3 * mergers * numerics.compute)
    return _stack(layers, count * vision.width * numerics.compute, checkpointing) + count * edges


def _vision_layer(backbone: BackboneConfig, shape: SampleShape, number: int, numerics: Numerics) -> float:
    """One layer of the vision tower, per patch."""
    vision, old = backbone.vision, backbone.family == "qwen2_5_vl"
    width, wide = vision.width, vision.mlp_width or 4 * vision.width
    seen = shape.patches_of_one(vision)
    if old and number not in vision.deep_layers:
        seen = min(seen, (vision.window // vision.patch_size) ** 2)
    attended = _attention(width, vision.heads, seen, numerics)
    if numerics.attention == "fused":
        attended += 2 * width * numerics.compute  # values are a view of one product with queries and keys
    norms = 2 * width * ((_FP32 + numerics.compute if old else numerics.layer_norm) + numerics.compute)
    return norms + attended + (4 if old else 2) * wide * numerics.compute


def _expert_layer(expert: ExpertConfig, seen: int, numerics: Numerics) -> float:
    """One block of the action expert, per token."""
    width = expert.width
    attended = _attention(width, expert.heads, seen, numerics)
    if numerics.attention == "fused":
        attended += 2 * width * numerics.compute
    feed = (4 if expert.mlp == "swiglu" else 2) * expert.mlp_width * numerics.compute
    modulated = 2 if expert.modulation == "zero" else 1
    gates = 2 if expert.modulation == "zero" else 0
    norms = 2 * 2 * width * numerics.layer_norm
    return norms + (modulated + gates) * width * numerics.compute + attended + feed
