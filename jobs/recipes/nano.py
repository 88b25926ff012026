"""The nano recipes: a Qwen-VLA small enough to learn four simulated robots on two CPU cores in minutes.

They differ from a lab's recipe in numbers only.
"""

from dataclasses import replace

from volano.model.config import BackboneConfig, ExpertConfig, ModelConfig, VisionConfig
from volano.train.config import CorpusConfig, EngineConfig, OptimizerConfig, RunConfig, StageConfig
from volano.train.parts import BACKBONE

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
        frozen=BACKBONE,
        tau="logit_normal",
        optimizer=_RATE,
    )
    sft = StageConfig(
        name="sft",
        steps=850,
        batch=64,
        images=True,
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
    return replace(
        base, recipe="nano_finetune", goes_on=True, stages=(replace(base.stages[-1], steps=200, optimizer=gentle),)
    )


def nano_t2a() -> RunConfig:
    """As `nano`, with text to action as the paper has it: 20 % of every batch are motions of other arms, described in
    words. Its vocabulary has room for those words."""
    base = nano()
    t2a, sft = base.stages
    return replace(
        base,
        recipe="nano_t2a",
        model=replace(base.model, backbone=replace(base.model.backbone, vocabulary=1000)),
        corpus=CorpusConfig(trajectories=720),
        stages=(replace(t2a, mixture={"episodes": 0.8, "language_action": 0.2}), sft),
    )


def nano_stages() -> RunConfig:
    """All three stages: text to action, continued pretraining on equal shares of every robot and questions about
    pictures, supervised fine-tuning."""
    base = nano_t2a()
    t2a, sft = base.stages
    cpt = replace(sft, name="cpt", steps=300, tau="beta_clean", shares={}, vl_batch=4)
    return replace(base, recipe="nano_stages", stages=(t2a, cpt, replace(sft, steps=550)))
