"""The paper's size: a Qwen3.5-4B and the diffusion transformer of 1.15 billion weights (arXiv 2605.30280).

What the paper says is said here; what it leaves open follows its relatives, field by field, and is one override away.
"""

from volano.model.config import BackboneConfig, ExpertConfig, LinearAttentionConfig, ModelConfig, VisionConfig
from volano.train.config import CorpusConfig, EngineConfig, OptimizerConfig, RunConfig, StageConfig
from volano.train.parts import BACKBONE

_RATE = OptimizerConfig(backbone_rate=1e-5, expert_rate=1e-4, warmup_share=0.03, decay_vectors=False)


def model() -> ModelConfig:
    """Backbone as released, expert by the paper's parameter table; 12 heads of 128 carry the backbone's 32 rotary pairs
    unchanged."""
    vision = VisionConfig(depth=24, width=1024, heads=16, patch_size=16, mlp_width=4096, positions=2304)
    return ModelConfig(
        channels=64,
        horizon=16,
        state_channels=64,
        backbone=BackboneConfig(
            family="qwen3_5",
            pretrained="Qwen/Qwen3.5-4B",
            width=2560,
            layers=32,
            heads=16,
            key_value_heads=4,
            head_width=256,
            mlp_width=9216,
            vocabulary=248320,
            rope_sections=(11, 11, 10),
            rope_theta=1e7,
            linear=LinearAttentionConfig(full_every=4, key_heads=16, value_heads=32, head_width=128, kernel=4),
            vision=vision,
        ),
        expert=ExpertConfig(width=1536, blocks=16, heads=12, mlp_width=10240, rope_sections=(11, 11, 10)),
    )


def qwen_vla_4b() -> RunConfig:
    """Text to action, continued pretraining, supervised fine-tuning.

    The paper's corpus is 7.2 million trajectories; 2,000 steps of 52 rows see three ticks of each of these.
    """
    t2a = StageConfig(
        name="t2a",
        steps=2000,
        batch=256,
        images=False,
        frozen=BACKBONE,
        tau="logit_normal",
        mixture={"episodes": 0.8, "language_action": 0.2},
        optimizer=_RATE,
    )
    cpt = StageConfig(
        name="cpt",
        steps=100_000,
        batch=1024,
        images=True,
        tau="beta_clean",
        optimizer=_RATE,
    )
    sft = StageConfig(
        name="sft",
        steps=60_000,
        batch=256,
        images=True,
        tau="beta_clean",
        optimizer=_RATE,
    )
    return RunConfig(
        recipe="qwen_vla_4b",
        model=model(),
        stages=(t2a, cpt, sft),
        corpus=CorpusConfig(trajectories=36_000),
        engine=EngineConfig(zero_stage=2, precision="bf16", recompute=True),
        checkpoint_every=1000,
    )
