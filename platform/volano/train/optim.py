"""AdamW or Muon with a learning rate for each part, and the cosine schedule as a pure function of the step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from volano.errors import Code, TrainError
from volano.model.policy import Policy
from volano.train.config import OptimizerConfig

_EDGES = ("embed", "lm_head", "action_in.0", "action_out.2", "state_in")


def rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then cosine to `final_share`."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(policy: Policy, config: OptimizerConfig, *, freeze_backbone: bool) -> torch.optim.Optimizer:
    """Backbone and expert groups; a frozen backbone's parameters are left out and get no gradient.

    Each group carries its peak rate as `peak`; `set_rates` applies the schedule. Raises TrainError(E-TRAIN-001) when
    Muon is to be clipped.
    """
    for parameter in policy.backbone.parameters():
        parameter.requires_grad_(not freeze_backbone)
    parts: list[tuple[nn.Module, float]] = [(policy.expert, config.expert_rate)]
    if not freeze_backbone:
        parts.append((policy.backbone, config.backbone_rate))
    if config.kind == "muon":
        return _muon(parts, config)
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate, "peak": rate} for part, rate in parts
    ]
    return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def _muon(parts: Sequence[tuple[nn.Module, float]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """DeepSpeed's Muon, the one that its ZeRO stages know how to partition: parameters say which half they are in."""
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    if config.clip:
        raise TrainError(Code.TRAIN_FAILED, "Muon's updates are not to be clipped", "set the optimizer's clip to 0")
    groups: list[dict[str, Any]] = []
    matrices: list[nn.Parameter] = []
    for part, rate in parts:
        rest: list[nn.Parameter] = []
        for name, parameter in part.named_parameters():
            parameter.use_muon = _is_hidden_matrix(name, parameter)  # type: ignore[attr-defined] # DeepSpeed reads it
            if parameter.requires_grad:
                (matrices if _is_hidden_matrix(name, parameter) else rest).append(parameter)
        groups.append({"params": rest, "use_muon": False, "lr": rate, "betas": config.betas})
    groups.append({"params": matrices, "use_muon": True, "lr": config.matrix_rate, "ns_method": "standard"})
    for group in groups:
        group |= {"peak": group["lr"], "weight_decay": config.weight_decay}
    optimizer: torch.optim.Optimizer = MuonWithAuxAdam(groups)
    return optimizer


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter maps features to features; what touches words, pixels, states or actions does not."""
    return parameter.ndim == 2 and not any(edge in name for edge in _EDGES)


def set_rates(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set every group to its peak times `scale`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
