"""Real-time chunking: a chunk that goes on from the actions which are executed while it is made.

Two ways, of one interface. Guided works with any network: each Euler step is corrected by the gradient of the expected
clean chunk, towards the prefix (arXiv 2506.07339); and before it, and at the end, rows are drawn to where the prefix
would stand at that time, by the same weights. Pinned (arXiv 2512.05964) needs a network that was trained with prefixes:
the rows are given clean and stay. The papers' time runs the other way: 0 is clean here, 1 is noise.

Shapes: B samples, H rows and K channels of the unified action tensor.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from volano.embodiment.prefix import Prefix

_MAX_WEIGHT = 5.0
"""Of the guidance, as in the paper; and no more than the number of steps, so that no step overshoots."""
Velocity = Callable[[Tensor, Tensor], Tensor]
"""Of (Y_tau, tau_B): noise minus clean."""


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """Of a batch; a sample without a prefix has zeros."""

    clean_BHK: Tensor
    """What is executed, normalised."""
    frozen_BHK: Tensor
    """bool: cells that the answer repeats, because the robot executes them before it has the answer."""
    weight_BHK: Tensor
    """How strictly a guided sample keeps to its prefix, 0 to 1; zero for samples whose prefix is pinned."""
    pinned_B: Tensor
    """int64: rows that the network is given clean; zero for samples that are guided."""

    def placed(self, order_B: Tensor) -> "Prefixes":
        """In another order, on its device."""
        return Prefixes(**{name: part.to(order_B.device)[order_B] for name, part in vars(self).items()})


def gather(given: Sequence[Prefix | None], clean_BHK: Tensor, active_BHK: Tensor, trained: int) -> Prefixes:
    """The batch's, where `clean_BHK` holds each sample's normalised rows and `active_BHK` (0 or 1) its robot's cells.
    A delay of up to `trained` rows is given to the network, a longer one guides it."""
    frozen, weight = torch.zeros(clean_BHK.shape, dtype=torch.bool), torch.zeros(clean_BHK.shape)
    pinned = torch.zeros(len(given), dtype=torch.long)
    for number, prefix in enumerate(given):
        if prefix is None:
            continue
        frozen[number, : prefix.delay] = True
        if 0 < prefix.delay <= trained:
            pinned[number] = prefix.delay
        else:
            weight[number] = soft_weights(len(prefix.actions), prefix.delay, clean_BHK.shape[1])[:, None]
    return Prefixes(
        clean_BHK=clean_BHK, frozen_BHK=frozen & active_BHK.bool(), weight_BHK=weight * active_BHK, pinned_B=pinned
    )


def soft_weights(known: int, delay: int, horizon: int) -> Tensor:
    """How strictly each row keeps to the prefix, shape (horizon,): 1 on the first `delay` rows, falling to 0 behind
    the `known` ones, as the paper's equation 5 has it."""
    row = torch.arange(horizon, dtype=torch.float64)
    left = (known - row) / (known - delay + 1)
    soft = left * torch.expm1(left) / (math.e - 1)
    return torch.where(row < delay, 1.0, torch.where(row < known, soft, 0.0)).float()


def leading_rows(count_B: Tensor, horizon: int) -> Tensor:
    """bool, shape (B, horizon): the first `count_B` rows of each sample."""
    return torch.arange(horizon, device=count_B.device) < count_B[:, None]


def draw_prefixes(longest: int, mask_BHK: Tensor, random_B: Tensor) -> Tensor:
    """Rows of each sample that a training step gives clean, int64 of shape (B,): 0 to `longest`, each as likely, and
    at least one valid row less than the sample has. `random_B` is uniform within [0, 1)."""
    most_B = (mask_BHK.any(dim=2).sum(dim=1) - 1).clamp(min=0, max=longest)
    return (random_B * (most_B + 1)).long().clamp(max=most_B)


def integrate_from(velocity: Velocity, noise_BHK: Tensor, steps: int, prefixes: Prefixes) -> Tensor:
    """Euler from tau = 1 to 0, each sample by its prefix; frozen cells are those of the prefix to the bit."""
    pinned_BH1 = leading_rows(prefixes.pinned_B, noise_BHK.shape[1])[..., None]
    guided = bool(prefixes.weight_BHK.any())
    y_BHK = torch.where(pinned_BH1, prefixes.clean_BHK, noise_BHK)
    for step in range(steps):
        tau = 1 - step / steps
        tau_B = torch.full((y_BHK.shape[0],), tau, dtype=y_BHK.dtype, device=y_BHK.device)
        if guided:
            slope = _guided(velocity, y_BHK, tau_B, guidance_weight(tau, steps), prefixes)
        else:
            slope = velocity(y_BHK, tau_B)
        y_BHK = torch.where(pinned_BH1, prefixes.clean_BHK, y_BHK - slope / steps)
        after = 1 - (step + 1) / steps
        there = (1 - after) * prefixes.clean_BHK + after * noise_BHK
        y_BHK = y_BHK + prefixes.weight_BHK * (there - y_BHK)
    return torch.where(prefixes.frozen_BHK, prefixes.clean_BHK, y_BHK)


def guidance_weight(tau: float, steps: int) -> float:
    """(1 - t) / (t r^2) of the paper at its time t = 1 - tau, bounded."""
    most = min(_MAX_WEIGHT, float(steps))
    noise, clean = tau, 1 - tau
    if clean <= 0:
        return most
    return min((noise**2 + clean**2) / (noise * clean), most)


def _guided(velocity: Velocity, y_BHK: Tensor, tau_B: Tensor, weight: float, prefixes: Prefixes) -> Tensor:
    """The velocity, less the pull on the expected clean chunk, drawn back through the network to Y_tau."""
    with torch.enable_grad():
        given = y_BHK.detach().requires_grad_()
        slope = velocity(given, tau_B)
        expected = given - tau_B[:, None, None] * slope
        pull = (prefixes.weight_BHK * (prefixes.clean_BHK - expected)).detach()
        (correction,) = torch.autograd.grad(expected, given, grad_outputs=pull)
    return slope.detach() - weight * correction
