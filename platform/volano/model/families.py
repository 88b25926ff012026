"""The families of Qwen vision-language models: for each its transformers class, and a configuration of our numbers.

A recipe says every number itself, so that a network can be built, counted and planned without a download; weights that
are brought in later must belong to exactly that network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from volano.model.config import BackboneConfig, BackboneFamily
from volano.model.prompt import IMAGE_TOKEN, VIDEO_TOKEN, VISION_END, VISION_START, PromptEncoder

_MAX_POSITIONS = 32768


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of backbone."""

    network: type[PreTrainedModel]
    configure: Callable[[BackboneConfig, Mapping[str, Any]], PreTrainedConfig]
    """The library's configuration of our numbers and token identifiers."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Of red, green and blue in [0, 1], which the family's image processor subtracts."""
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """By which it then divides."""


def configuration(config: BackboneConfig, encoder: PromptEncoder) -> PreTrainedConfig:
    """The library's configuration of a backbone whose prompts `encoder` makes."""
    names = {
        "image_token_id": IMAGE_TOKEN,
        "video_token_id": VIDEO_TOKEN,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
    }
    return FAMILIES[config.family].configure(config, {name: encoder.token(token) for name, token in names.items()})


def _qwen3_vl(config: BackboneConfig, tokens: Mapping[str, Any]) -> PreTrainedConfig:
    return Qwen3VLConfig(
        text_config=_text(config) | {"rope_parameters": _rotary(config) | {"mrope_interleaved": True}},
        vision_config=_vision(config)
        | {"out_hidden_size": config.width, "deepstack_visual_indexes": list(config.vision.deep_layers)},
        tie_word_embeddings=config.tied,
        **tokens,
    )


def _qwen3_5(config: BackboneConfig, tokens: Mapping[str, Any]) -> PreTrainedConfig:
    linear = config.linear
    share = 2 * sum(config.rope_sections) / config.head_width
    return Qwen3_5Config(
        text_config=_text(config)
        | {
            "rope_parameters": _rotary(config) | {"mrope_interleaved": True, "partial_rotary_factor": share},
            "layer_types": [
                "linear_attention" if (layer + 1) % linear.full_every else "full_attention"
                for layer in range(config.layers)
            ],
            "linear_num_key_heads": linear.key_heads,
            "linear_num_value_heads": linear.value_heads,
            "linear_key_head_dim": linear.head_width,
            "linear_value_head_dim": linear.head_width,
            "linear_conv_kernel_dim": linear.kernel,
        },
        vision_config=_vision(config) | {"out_hidden_size": config.width},
        tie_word_embeddings=config.tied,
        **tokens,
    )


def _qwen2_5_vl(config: BackboneConfig, tokens: Mapping[str, Any]) -> PreTrainedConfig:
    text = _text(config)
    del text["head_dim"]  # this family has no such field: heads share the width
    vision = _vision(config)
    del vision["num_position_embeddings"]
    return Qwen2_5_VLConfig(
        text_config=text | {"rope_parameters": _rotary(config), "tie_word_embeddings": config.tied},
        vision_config=vision
        | {
            "out_hidden_size": config.width,
            "window_size": config.vision.window,
            "fullatt_block_indexes": list(config.vision.deep_layers),
        },
        tie_word_embeddings=config.tied,
        **tokens,
    )


def _text(config: BackboneConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "initializer_range": config.spread,
        "max_position_embeddings": _MAX_POSITIONS,
    }


def _rotary(config: BackboneConfig) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": config.rope_theta, "mrope_section": list(config.rope_sections)}


def _vision(config: BackboneConfig) -> dict[str, Any]:
    vision = config.vision
    return {
        "depth": vision.depth,
        "initializer_range": config.spread,
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_width or 4 * vision.width,
        "num_heads": vision.heads,
        "patch_size": vision.patch_size,
        "spatial_merge_size": vision.merge,
        "temporal_patch_size": vision.temporal_patch,
        "num_position_embeddings": vision.positions,
    }


FAMILIES: dict[BackboneFamily, Family] = {
    "qwen3_5": Family(network=Qwen3_5ForConditionalGeneration, configure=_qwen3_5),
    "qwen3_vl": Family(network=Qwen3VLForConditionalGeneration, configure=_qwen3_vl),
    "qwen2_5_vl": Family(
        network=Qwen2_5_VLForConditionalGeneration,
        configure=_qwen2_5_vl,
        mean=(0.48145466, 0.4578275, 0.40821073),
        deviation=(0.26862954, 0.26130258, 0.27577711),
    ),
}
