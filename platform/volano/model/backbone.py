"""The vision-language backbone: a Qwen3-VL of the transformers library, randomly initialised or from a folder.

Guarantees one interface whatever the batch holds: token identifiers and images in; hidden states of the last layer,
their three-axis positions and their mask out. Weights are never loaded with remote code.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForImageTextToText, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from volano.model.config import BackboneConfig
from volano.model.prompt import IMAGE_TOKEN, VIDEO_TOKEN, VISION_END, VISION_START, PromptEncoder


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """A batch as the backbone takes it, padded on the right."""

    tokens_BS: Tensor
    """int64, shape (B, S)."""
    mask_BS: Tensor
    """bool, shape (B, S): False on padding."""
    images: Tensor | None
    """uint8, shape (I, height, width, 3): every image of the batch in token order; None for text only."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What the expert reads."""

    states_BSV: Tensor
    positions_3BS: Tensor
    mask_BS: Tensor

    def repeated(self, times: int) -> Self:
        """The whole batch `times` times, one copy after another."""
        return type(self)(
            states_BSV=self.states_BSV.repeat(times, 1, 1),
            positions_3BS=self.positions_3BS.repeat(1, times, 1),
            mask_BS=self.mask_BS.repeat(times, 1),
        )


def random_config(config: BackboneConfig, encoder: PromptEncoder) -> Qwen3VLConfig:
    """A transformers configuration of our numbers."""
    vision = config.vision
    return Qwen3VLConfig(
        text_config={
            "vocab_size": config.vocabulary,
            "hidden_size": config.width,
            "intermediate_size": config.mlp_width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.key_value_heads,
            "head_dim": config.head_width,
            "initializer_range": config.spread,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": config.rope_theta,
                "mrope_section": list(config.rope_sections),
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": vision.depth,
            "initializer_range": config.spread,
            "hidden_size": vision.width,
            "intermediate_size": 4 * vision.width,
            "num_heads": vision.heads,
            "patch_size": vision.patch_size,
            "spatial_merge_size": vision.merge,
            "temporal_patch_size": vision.temporal_patch,
            "out_hidden_size": config.width,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [],
        },
        image_token_id=encoder.token(IMAGE_TOKEN),
        video_token_id=encoder.token(VIDEO_TOKEN),
        vision_start_token_id=encoder.token(VISION_START),
        vision_end_token_id=encoder.token(VISION_END),
        tie_word_embeddings=True,
    )


def patches(images_IHWC: Tensor, patch_size: int, merge: int, temporal_patch: int) -> Tensor:
    """Qwen's flat patch layout, shape (I * rows * columns, 3 * temporal * patch^2), values in [-1, 1].

    Patches of one merge window stand next to each other, and a still image is repeated in time, as in the
    library's own image processor.
    """
    count, height, width, _ = images_IHWC.shape
    scaled = images_IHWC.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    rows, columns = height // (patch_size * merge), width // (patch_size * merge)
    grid = scaled.reshape(count, 3, rows, merge, patch_size, columns, merge, patch_size)
    ordered = grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count * rows * columns * merge * merge, 3, 1, -1)
    return ordered.expand(-1, 3, temporal_patch, -1).reshape(ordered.shape[0], -1)


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_unused: object,
) -> tuple[Tensor, None]:
    """Attention within each image of a packed sequence (1, heads, tokens, width) by PyTorch's own kernel.

    The library runs one kernel call per image unless an implementation takes packed sequences; images of one size
    are one call here. `cu_seq_lens_q` holds the images' boundaries.
    """
    lengths = cu_seq_lens_q.diff()
    if bool((lengths == lengths[0]).all()):
        heads, width = query.shape[1], query.shape[3]
        split = [x.view(heads, len(lengths), -1, width).transpose(0, 1) for x in (query[0], key[0], value[0])]
        attended = F.scaled_dot_product_attention(split[0], split[1], split[2], scale=scaling)
        return attended.transpose(1, 2).reshape(1, -1, heads, width), None
    pieces = zip(*(torch.split(x, lengths.tolist(), dim=2) for x in (query, key, value)), strict=True)
    outputs = [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in pieces]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


class PatchEmbedding(nn.Module):
    """The library's patch embedding as one matrix product: a convolution whose stride is its kernel is nothing else,
    but on CPU took a seventh of a training step."""

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: Tensor) -> Tensor:
        weight = self.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


_PACKED = "volano_packed_flash"  # the library passes packed sequences to names with "flash" in them
AttentionInterface.register(_PACKED, packed_attention)


class Backbone(nn.Module):
    """A Qwen3-VL behind `Prompted` in and `Hidden` out."""

    def __init__(self, config: BackboneConfig, encoder: PromptEncoder) -> None:
        super().__init__()
        self.network: Any = (
            AutoModelForImageTextToText.from_pretrained(config.folder, trust_remote_code=False, use_safetensors=True)
            if config.folder
            else Qwen3VLForConditionalGeneration(random_config(config, encoder))
        )
        self.network.config.vision_config._attn_implementation = _PACKED
        visual = self.network.model.visual
        visual.patch_embed = PatchEmbedding(visual.patch_embed.proj)
        self.config = config
        self._image_token = int(self.network.config.image_token_id)

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.network.config.text_config.hidden_size)

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens that one image of this size becomes."""
        side = self.network.config.vision_config.patch_size * self.network.config.vision_config.spatial_merge_size
        return int((height // side) * (width // side))

    def forward(self, batch: Prompted) -> Hidden:
        """Run the backbone once; the language-model head is not evaluated."""
        vision = self.network.config.vision_config
        types = (batch.tokens_BS == self._image_token).int()
        inputs: dict[str, Tensor] = {}
        if batch.images is not None:
            height, width = batch.images.shape[1:3]
            side = vision.patch_size
            grid = torch.tensor([[1, height // side, width // side]]).repeat(batch.images.shape[0], 1)
            inputs["pixel_values"] = patches(
                batch.images, side, vision.spatial_merge_size, vision.temporal_patch_size
            ).to(self.network.dtype)
            inputs["image_grid_thw"] = grid.to(batch.images.device)
        positions, _ = self.network.model.get_rope_index(
            batch.tokens_BS, types, image_grid_thw=inputs.get("image_grid_thw"), attention_mask=batch.mask_BS.long()
        )
        output = self.network.model(
            input_ids=batch.tokens_BS,
            attention_mask=batch.mask_BS.long(),
            position_ids=positions,
            mm_token_type_ids=types,
            use_cache=False,
            **inputs,
        )
        return Hidden(states_BSV=output.last_hidden_state, positions_3BS=positions, mask_BS=batch.mask_BS)
