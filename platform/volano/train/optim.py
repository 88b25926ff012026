"""AdamW or Muon with a learning rate for each part, and the cosine schedule as a pure function of the step."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from volano.model.policy import Policy
from volano.train.config import OptimizerConfig
from volano.train.lora import is_adapted, is_adapter
from volano.train.measure import Norms
from volano.train.parts import check_optimizer, part_of

_EDGES = ("embed", "lm_head", "action_in.0", "action_out.2", "state_in")


def rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then cosine to `final_share`."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(policy: Policy, config: OptimizerConfig, *, frozen: Sequence[str]) -> torch.optim.Optimizer:
    """Groups by part, and within a part by what decays and what Muon takes; the parameters of frozen parts are left out
    and get no gradient.

    Each group carries its `part`, the `name` of its learning rate and its peak rate as `peak`; `set_rates` applies the
    schedule. Raises TrainError like `check_optimizer`.
    """
    check_optimizer(config, frozen)
    adapted = is_adapted(policy)
    for name, parameter in policy.named_parameters():
        part = part_of(name)
        parameter.requires_grad_(part not in frozen and (part == "expert" or is_adapter(name) or not adapted))
    trained = [(name, parameter) for name, parameter in _expert_first(policy) if parameter.requires_grad]
    if config.kind == "muon":
        return _muon(policy, trained, config)
    return torch.optim.AdamW(_groups(trained, config), betas=config.betas, weight_decay=config.weight_decay, fused=True)


def _expert_first(policy: Policy) -> list[tuple[str, nn.Parameter]]:
    return sorted(policy.named_parameters(), key=lambda item: part_of(item[0]) != "expert")


def _groups(
    parameters: Sequence[tuple[str, nn.Parameter]], config: OptimizerConfig, matrix_rate: float | None = None
) -> list[dict[str, Any]]:
    """A group for each part, and two where its vectors do not decay; at `matrix_rate` if that is given."""
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in parameters:
        part = part_of(name)
        rate = config.rates.get(part, config.expert_rate if part == "expert" else config.backbone_rate)
        decays = config.decay_vectors or parameter.ndim > 1
        group: dict[str, Any] = {"params": [], "part": part, "name": part, "lr": rate, "peak": rate}
        if matrix_rate is not None:
            group |= {"name": "matrices", "lr": matrix_rate, "peak": matrix_rate}
        group["weight_decay"] = config.weight_decay if decays else 0.0
        found.setdefault((part, decays), group)["params"].append(parameter)
    return list(found.values())


def _muon(
    policy: Policy, parameters: Sequence[tuple[str, nn.Parameter]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """DeepSpeed's Muon, the one that its ZeRO stages know how to partition: parameters say which half they are in."""
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    for name, parameter in policy.named_parameters():
        parameter.use_muon = _is_hidden_matrix(name, parameter)  # type: ignore[attr-defined] # DeepSpeed reads it
    rest = [(name, parameter) for name, parameter in parameters if not _is_hidden_matrix(name, parameter)]
    matrices = [(name, parameter) for name, parameter in parameters if _is_hidden_matrix(name, parameter)]
    adam, muon = {"use_muon": False, "betas": config.betas}, {"use_muon": True, "ns_method": "standard"}
    groups = [group | adam for group in _groups(rest, config)]
    groups += [group | muon for group in _groups(matrices, config, config.matrix_rate)]
    optimizer: torch.optim.Optimizer = MuonWithAuxAdam(groups)
    return optimizer


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter maps features to features; what touches words, pixels, states or actions does not."""
    return parameter.ndim == 2 and not any(edge in name for edge in _EDGES)


def gradient_norms(optimizer: torch.optim.Optimizer) -> Norms:
    """Of gradients that are whole in this process."""
    by_part: dict[str, list[Tensor]] = defaultdict(list)
    for group in optimizer.param_groups:
        by_part[group["part"]] += [p.grad for p in group["params"] if p.grad is not None]
    return Norms(parts={part: float(torch.nn.utils.get_total_norm(found)) for part, found in by_part.items()})


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Learning rate of each part, and under Muon of its matrices."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}


@contextmanager
def own_settings(groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Keep what the configuration says of every group, whatever a checkpoint that is loaded within says."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    yield
    for group, own in zip(groups, settings, strict=True):
        group |= own


def set_rates(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set every group to its peak times `scale`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
