"""Flow matching: tau, the two-level masked loss, and the integrator (paper section 4; tau = 0 clean, 1 noise)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from volano.model.config import TauDistribution

_TAU_MAX = 0.999


@dataclass(frozen=True, kw_only=True)
class Share:
    """One worker's rows of a batch of `total`: `first`, `first + every` and so on."""

    first: int = 0
    every: int = 1
    total: int

    def __len__(self) -> int:
        return len(range(self.first, self.total, self.every))

    def of(self, drawn: Tensor, draws: int) -> Tensor:
        """This share's rows of `draws` draws for the whole batch, one draw after another: shape (draws * len, ...)."""
        own: Tensor = drawn.unflatten(0, (draws, self.total))[:, self.first :: self.every].flatten(0, 1)
        return own


def sample_tau(distribution: TauDistribution, count: int, generator: torch.Generator) -> Tensor:
    """Flow times of shape (count,), in [0, 1].

    `logit_normal`: sigmoid of a standard normal. `beta_clean`: 0.999 (1 - Beta(1.5, 1)), dense near the clean end,
    the paper's wording. `beta_noisy`: 0.999 Beta(1.5, 1) + 0.001, what related code bases do.
    """
    if distribution == "logit_normal":
        return torch.sigmoid(torch.randn(count, generator=generator))
    beta = torch.rand(count, generator=generator) ** (1 / 1.5)
    return _TAU_MAX * (1 - beta) if distribution == "beta_clean" else _TAU_MAX * beta + (1 - _TAU_MAX)


def interpolate(clean_BHK: Tensor, noise_BHK: Tensor, tau_B: Tensor) -> Tensor:
    """Y_tau = (1 - tau) Y0 + tau Y1."""
    tau = tau_B[:, None, None]
    return (1 - tau) * clean_BHK + tau * noise_BHK


def masked_loss(velocity_BHK: Tensor, target_BHK: Tensor, mask_BHK: Tensor) -> Tensor:
    """Per-sample loss of shape (B,): mean over time in each channel, then over the sample's active channels.

    Equations 1 and 2. A channel with no valid row does not count; a sample with none has loss 0.
    """
    squared = (velocity_BHK - target_BHK).square() * mask_BHK
    rows_BK = mask_BHK.sum(dim=1)
    channel_BK = squared.sum(dim=1) / rows_BK.clamp(min=1)
    return channel_BK.sum(dim=1) / (rows_BK > 0).sum(dim=1).clamp(min=1)


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], noise_BHK: Tensor, steps: int) -> Tensor:
    """Euler from tau = 1 to 0: `velocity(Y_tau, tau_B)` gives noise minus clean."""
    y_BHK = noise_BHK
    for step in range(steps):
        tau = torch.full((y_BHK.shape[0],), 1 - step / steps, dtype=y_BHK.dtype, device=y_BHK.device)
        y_BHK = y_BHK - velocity(y_BHK, tau) / steps
    return y_BHK
