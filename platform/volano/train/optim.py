"""AdamW with two learning rates, and the cosine schedule as a pure function of the step."""

import math

import torch

from volano.model.policy import Policy
from volano.train.config import OptimizerConfig


def rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then cosine to `final_share`."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(policy: Policy, config: OptimizerConfig, *, freeze_backbone: bool) -> torch.optim.AdamW:
    """Backbone and expert groups; a frozen backbone's parameters are left out and get no gradient.

    Each group carries its peak rate as `peak`; `set_rates` applies the schedule.
    """
    for parameter in policy.backbone.parameters():
        parameter.requires_grad_(not freeze_backbone)
    groups = [{"params": list(policy.expert.parameters()), "lr": config.expert_rate, "peak": config.expert_rate}]
    if not freeze_backbone:
        backbone = [p for p in policy.backbone.parameters() if p.requires_grad]
        groups.append({"params": backbone, "lr": config.backbone_rate, "peak": config.backbone_rate})
    return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set every group to its peak times `scale`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
