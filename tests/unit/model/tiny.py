"""A Qwen-VLA of a few thousand weights, of the same classes as every other."""

from collections.abc import Mapping

import numpy as np
import torch

from volano.data.normalize import Quantiles
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.model.actions import ActionCodec
from volano.model.config import (
    BackboneConfig,
    BackboneFamily,
    ExpertConfig,
    LinearAttentionConfig,
    ModelConfig,
    VisionConfig,
)
from volano.model.policy import Policy, Sample
from volano.model.prompt import train_tokenizer

INSTRUCTIONS = ("open the door", "go to the red box", "turn left at the intersection")


def tiny_backbone(family: BackboneFamily = "qwen3_vl") -> BackboneConfig:
    """Two layers, 32 wide; of Qwen3.5 one has linear attention, and half of a head is rotated."""
    return BackboneConfig(
        family=family,
        width=32,
        layers=2,
        heads=2,
        key_value_heads=1,
        head_width=16,
        mlp_width=64,
        vocabulary=500,
        rope_sections=(2, 1, 1) if family == "qwen3_5" else (4, 2, 2),
        linear=LinearAttentionConfig(full_every=2, key_heads=2, value_heads=4, head_width=8),
        vision=VisionConfig(depth=2, width=32, heads=2, patch_size=16, deep_layers=(1,), window=32),
    )


def tiny_model(**changes: object) -> ModelConfig:
    """Two layers everywhere, 32 wide."""
    fields: dict[str, object] = {
        "channels": 8,
        "horizon": 8,
        "state_channels": 8,
        "backbone": tiny_backbone(),
        "expert": ExpertConfig(width=32, blocks=2, heads=2, mlp_width=64, rope_sections=(4, 2, 2)),
    }
    return ModelConfig(**{**fields, **changes})  # type: ignore[arg-type]


def tiny_policy(seed: int = 0, robots: Mapping[str, Embodiment] = SHIPPED, **changes: object) -> Policy:
    """A policy for these robots, with unit statistics."""
    config = tiny_model(**changes)
    codecs = {
        tag: ActionCodec(
            embodiment=robot,
            action=Quantiles(q01=(-1.0,) * len(robot.action), q99=(1.0,) * len(robot.action)),
            state=Quantiles(q01=(-1.0,) * len(robot.state), q99=(1.0,) * len(robot.state)),
            horizon=config.horizon,
            channels=config.channels,
            state_channels=config.state_channels,
            path_frame=config.path_frame,
        )
        for tag, robot in robots.items()
    }
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(robots.values(), INSTRUCTIONS, config.backbone.vocabulary)
    policy = Policy(config, tokenizer, codecs)
    wake(policy)
    return policy


def wake(policy: Policy) -> None:
    """Undo the identity start, so that every path of the expert carries signal."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.expert.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def sample(tag: str, instruction: str = INSTRUCTIONS[0], seed: int = 0, *, images: bool = True) -> Sample:
    """A random observation of a shipped robot, with a full target."""
    robot = SHIPPED[tag]
    random = np.random.default_rng(seed)
    mask = np.zeros((8, 8), np.bool_)
    mask[: robot.horizon, : len(robot.action)] = True
    views = tuple(
        random.integers(0, 256, (camera.height, camera.width, 3)).astype(np.uint8) for camera in robot.cameras
    )
    return Sample(
        embodiment=tag,
        instruction=instruction,
        images=views if images else (),
        state=random.uniform(-1, 1, len(robot.state)).astype(np.float32),
        target=(random.uniform(-1, 1, (8, 8)) * mask).astype(np.float32),
        mask=mask,
    )
