"""The nano recipes: a Qwen-VLA small enough to learn four simulated robots on two CPU cores in minutes.

They differ from a lab's recipe in numbers only.
"""

from dataclasses import replace

from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig
from volano.train.config import EngineConfig, OptimizerConfig, RunConfig, StageConfig

_RATE = OptimizerConfig(kind="muon", matrix_rate=8e-3, backbone_rate=2e-3, expert_rate=2e-3, clip=0.0)


def model() -> ModelConfig:
    """A Qwen3-VL of 0.75 and a diffusion transformer of 0.64 million weights; the prompt stands before the images, so
    that every image token knows the task."""
    sections = (6, 5, 5)
    vision = VisionConfig(depth=2, width=96, heads=3, patch_size=8)
    return ModelConfig(
        channels=8,
        horizon=8,
        state_input="continuous",
        state_channels=8,
        order="prompt_first",
        backbone=BackboneConfig(
            width=96,
            layers=2,
            heads=3,
            key_value_heads=1,
            head_width=32,
            mlp_width=288,
            vocabulary=700,
            spread=0.1,
            rope_sections=sections,
            vision=vision,
        ),
        expert=ExpertConfig(width=96, blocks=3, heads=3, mlp_width=320, rope_sections=sections, rope_theta=100.0),
    )


def nano() -> RunConfig:
    """Round one: text to action, then supervised fine-tuning with images."""
    t2a = StageConfig(
        name="t2a",
        steps=60,
        batch=128,
        images=False,
        freeze_backbone=True,
        tau="logit_normal",
        optimizer=_RATE,
    )
    sft = StageConfig(
        name="sft",
        steps=850,
        batch=64,
        images=True,
        freeze_backbone=False,
        tau="beta_noisy",
        shares={"sawyer": 0.28, "scout": 0.18, "glider": 0.2, "car": 0.34},
        optimizer=_RATE,
    )
    return RunConfig(
        recipe="nano", model=model(), stages=(t2a, sft), engine=EngineConfig(precision="bf16"), checkpoint_every=200
    )


def nano_finetune() -> RunConfig:
    """Later rounds: fine-tune the current policy on a new dataset version."""
    base = nano()
    gentle = replace(_RATE, matrix_rate=3e-3, backbone_rate=7e-4, expert_rate=7e-4)
    return replace(base, recipe="nano_finetune", stages=(replace(base.stages[-1], steps=200, optimizer=gentle),))
