"""The nano recipes: a Qwen-VLA small enough to learn four simulated robots on two CPU cores in minutes.

They differ from a lab's recipe in numbers only.
"""

from dataclasses import replace

from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig
from volano.train.config import OptimizerConfig, RunConfig, StageConfig


def model() -> ModelConfig:
    """A Qwen3-VL and a diffusion transformer of about a million weights each."""
    return ModelConfig(
        channels=8,
        horizon=16,
        state_channels=8,
        backbone=BackboneConfig(
            width=128,
            layers=2,
            heads=4,
            key_value_heads=2,
            head_width=32,
            mlp_width=384,
            vocabulary=700,
            rope_sections=(6, 5, 5),
            vision=VisionConfig(depth=2, width=96, heads=3, patch_size=8),
        ),
        expert=ExpertConfig(width=128, blocks=3, heads=4, mlp_width=848, rope_sections=(6, 5, 5)),
    )


def nano() -> RunConfig:
    """Round one: text to action, then supervised fine-tuning with images."""
    optimizer = OptimizerConfig()
    return RunConfig(
        recipe="nano",
        model=model(),
        stages=(
            StageConfig(
                name="t2a",
                steps=150,
                batch=128,
                images=False,
                freeze_backbone=True,
                tau="logit_normal",
                optimizer=optimizer,
            ),
            StageConfig(
                name="sft",
                steps=900,
                batch=128,
                images=True,
                freeze_backbone=False,
                tau="beta_clean",
                optimizer=optimizer,
            ),
        ),
    )


def nano_finetune() -> RunConfig:
    """Later rounds: fine-tune the current policy on a new dataset version."""
    base = nano()
    stage = replace(base.stages[-1], steps=400, optimizer=OptimizerConfig(backbone_rate=5e-4, expert_rate=5e-4))
    return replace(base, recipe="nano_finetune", stages=(stage,))
