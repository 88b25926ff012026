"""Floating-point operations of one training sample: a function of a network's numbers.

Two for each multiplication in a matrix product, nothing for the rest. Attention is counted whole, also where a causal
mask hides half of it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig
from volano.train.activations import CHUNK, SampleShape
from volano.train.parts import BACKBONE, PARTS


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Of the forward pass of one sample."""

    vision: float
    """Matrices of the vision tower and its mergers."""
    vision_attention: float
    language: float
    """Matrices of the language layers."""
    language_attention: float
    expert: float
    """All noise draws of the sample."""
    expert_attention: float

    @property
    def backbone(self) -> float:
        """Vision tower and language layers."""
        return self.vision + self.vision_attention + self.language + self.language_attention

    @property
    def forward(self) -> float:
        """All parts."""
        return self.backbone + self.expert + self.expert_attention

    def trained(self, frozen: Collection[str], *, adapted: bool = False) -> float:
        """Forward and backward pass. A part's backward pass costs as much as its forward pass for the gradient of its
        weights, unless it is frozen, and as much again for that of its inputs, if anything there learns. With `adapted`
        only low-rank adapters learn in the backbone; their own few operations are not counted."""
        learns = set(PARTS) - set(frozen)
        backbone = learns & ({"language"} if adapted else set(BACKBONE))
        backward = 0.0
        if backbone & {"vision"}:
            backward += 2 * (self.vision + self.vision_attention)
        if backbone:
            backward += self.language + 2 * self.language_attention + self.expert + 2 * self.expert_attention
        if "language" in learns and not adapted:
            backward += self.language
        if "expert" in learns:
            backward += self.expert if backbone else 2 * (self.expert + self.expert_attention)
        return self.forward + backward


def flops(model: ModelConfig, shape: SampleShape, language_matrices: int) -> Flops:
    """Of one sample; `language_matrices` counts the weights in matrices of the language layers."""
    backbone, tokens = model.backbone, shape.tokens(model.backbone.vision)
    rows = model.horizon + (model.state_input == "continuous")
    expert = model.expert
    projected = 2 * tokens * backbone.width * expert.width
    actions = 2 * rows * (2 * model.channels * expert.width + 2 * expert.width**2)
    dense = (
        projected + actions + 2 * (tokens + rows) * expert.blocks * _expert_matrices(expert) + 2 * _modulation(expert)
    )
    vision, vision_attention = _vision(backbone, shape)
    return Flops(
        language=2.0 * language_matrices * tokens,
        language_attention=tokens * sum(_attention(backbone, number, tokens) for number in range(backbone.layers)),
        vision=vision,
        vision_attention=vision_attention,
        expert=float(model.flow.draws * dense),
        expert_attention=4.0 * model.flow.draws * (tokens + rows) ** 2 * expert.width * expert.blocks,
    )


def _expert_matrices(expert: ExpertConfig) -> int:
    """Of a block, without those of its modulation, which sees one vector per draw."""
    return 4 * expert.width**2 + (3 if expert.mlp == "swiglu" else 2) * expert.width * expert.mlp_width


def _modulation(expert: ExpertConfig) -> int:
    vectors = (6 if expert.modulation == "zero" else 2) * expert.blocks + 2
    return (vectors + 1) * expert.width**2 + expert.time_features * expert.width


def _attention(backbone: BackboneConfig, number: int, tokens: int) -> float:
    """Products of queries, keys and values in one language layer, per token."""
    linear = backbone.linear
    if backbone.family == "qwen3_5" and (number + 1) % linear.full_every:
        return linear.value_heads * (8.0 * CHUNK * linear.head_width + 6 * linear.head_width**2)
    return 4.0 * tokens * backbone.heads * backbone.head_width


def _vision(backbone: BackboneConfig, shape: SampleShape) -> tuple[float, float]:
    """Matrices and attention of the vision tower, per sample."""
    vision, old = backbone.vision, backbone.family == "qwen2_5_vl"
    wide, window = vision.mlp_width or 4 * vision.width, vision.merge**2 * vision.width
    layer = 4 * vision.width**2 + (3 if old else 2) * vision.width * wide
    patch = 3 * vision.temporal_patch * vision.patch_size**2 * vision.width
    mergers = 1 + (len(vision.deep_layers) if backbone.family == "qwen3_vl" else 0)
    merged = mergers * (window**2 + window * backbone.width) / vision.merge**2
    count, seen = shape.patches(vision), shape.patches_of_one(vision)
    inside = min(seen, (vision.window // vision.patch_size) ** 2) if old else seen
    whole = len(vision.deep_layers) if old else vision.depth
    attended = 4.0 * vision.width * (whole * seen + (vision.depth - whole) * inside)
    return 2.0 * count * (vision.depth * layer + patch + merged), count * attended
