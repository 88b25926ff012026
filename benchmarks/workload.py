"""Training batches of mixed prompts and cameras for the compute benchmarks, and their networks of a given width.

The mix: arms with one, two or three cameras of 224 x 224 in equal shares, instructions of 4 to 40 words; 64 tokens an
image. Pixels and targets are noise: what a step costs does not depend on what is learned.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from volano.data.normalize import Quantiles
from volano.embodiment.shipped import SHIPPED
from volano.model.actions import ActionCodec
from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig
from volano.model.policy import Policy, Sample
from volano.model.prompt import train_tokenizer
from volano.train.activations import SampleShape
from volano.train.flops import flops

SIDE, ROWS, CHANNELS = 224, 16, 16
_WORDS = [
    "pick",
    "place",
    "the",
    "red",
    "blue",
    "green",
    "cup",
    "bowl",
    "drawer",
    "left",
    "right",
    "slowly",
    "then",
    "open",
    "close",
    "put",
    "on",
    "table",
    "under",
]


def model(width: int) -> ModelConfig:
    """A Qwen3-VL of four layers and an expert of four blocks, `width` wide, in the paper's proportions per layer."""
    sections = (12, 10, 10)
    vision = VisionConfig(depth=2, width=width // 2, heads=width // 128, patch_size=14)
    return ModelConfig(
        channels=CHANNELS,
        horizon=ROWS,
        backbone=BackboneConfig(
            width=width,
            layers=4,
            heads=width // 64,
            key_value_heads=width // 128,
            head_width=64,
            mlp_width=width * 11 // 4,
            vocabulary=2000,
            rope_sections=sections,
            vision=vision,
        ),
        expert=ExpertConfig(
            width=width, blocks=4, heads=width // 64, mlp_width=width * 11 // 4, rope_sections=sections
        ),
    )


def policy(config: ModelConfig) -> Policy:
    """With weights from a fixed seed, and gates open, so that no gradient is zero."""
    codecs = _codecs(config)
    tokenizer = train_tokenizer([codec.embodiment for codec in codecs.values()], [" ".join(_WORDS)], 2000)
    torch.manual_seed(0)
    built = Policy(config, tokenizer, codecs)
    with torch.no_grad():
        for name, parameter in built.expert.named_parameters():
            if "modulation" in name:
                parameter.normal_(std=0.02)
    return built


def samples(built: Policy, count: int, seed: int) -> list[Sample]:
    """One batch of the mix."""
    words, pixels = random.Random(seed), np.random.default_rng(seed)
    found = []
    for _ in range(count):
        cameras = words.choice((1, 2, 3))
        robot = built.codec(f"arm{cameras}").embodiment
        mask = np.zeros((ROWS, CHANNELS), np.bool_)
        mask[: robot.horizon, : len(robot.action)] = True
        found.append(
            Sample(
                embodiment=robot.tag,
                instruction=" ".join(words.choice(_WORDS) for _ in range(words.randint(4, 40))),
                images=tuple(pixels.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(cameras)),
                state=np.zeros(len(robot.state), np.float32),
                target=(pixels.standard_normal((ROWS, CHANNELS)) * mask).astype(np.float32),
                mask=mask,
            )
        )
    return found


def useful(built: Policy, drawn: Sequence[Sample], lengths: Sequence[int]) -> float:
    """Operations of forward and backward pass for the real tokens of samples whose prompts have these lengths."""
    network = built.backbone.network.model.language_model
    matrices = sum(weight.numel() for weight in network.layers.parameters() if weight.ndim > 1)
    total = 0.0
    for sample, length in zip(drawn, lengths, strict=True):
        bare = SampleShape(images=len(sample.images), image_height=SIDE, image_width=SIDE, prompt_tokens=0)
        shape = replace(bare, prompt_tokens=length - bare.tokens(built.config.backbone.vision))
        total += flops(built.config, shape, matrices).trained(())
    return total


def _codecs(config: ModelConfig) -> Mapping[str, ActionCodec]:
    base, found = SHIPPED["sawyer"], {}
    for count in (1, 2, 3):
        views = tuple(replace(base.cameras[0], name=f"view{n}", height=SIDE, width=SIDE) for n in range(count))
        robot = replace(base, tag=f"arm{count}", cameras=views)
        found[robot.tag] = ActionCodec(
            embodiment=robot,
            action=Quantiles(q01=(-1.0,) * len(robot.action), q99=(1.0,) * len(robot.action)),
            state=Quantiles(q01=(-1.0,) * len(robot.state), q99=(1.0,) * len(robot.state)),
            horizon=config.horizon,
            channels=config.channels,
            state_channels=config.state_channels,
        )
    return found
