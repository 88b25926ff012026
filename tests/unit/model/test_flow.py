"""The loss against a plain NumPy reference, tau's distributions, and the integrator on a field with a known path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.model.config import TauDistribution
from volano.model.flow import integrate, interpolate, masked_loss, sample_tau


def reference(velocity: np.ndarray, target: np.ndarray, mask: np.ndarray) -> list[float]:
    """Equations 1 and 2, one cell after another, in float64."""
    losses = []
    for v, t, m in zip(velocity.astype(np.float64), target.astype(np.float64), mask, strict=True):
        channels = [
            np.mean([(v[row, k] - t[row, k]) ** 2 for row in range(len(m)) if m[row, k]])
            for k in range(m.shape[1])
            if m[:, k].any()
        ]
        losses.append(float(np.mean(channels)) if channels else 0.0)
    return losses


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_loss_equals_the_reference_for_any_mask(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    shape = (3, 6, 5)
    velocity, target = (random.normal(size=shape).astype(np.float32) for _ in range(2))
    mask = random.uniform(size=shape) < density
    found = masked_loss(*(torch.from_numpy(array) for array in (velocity, target, mask)))
    np.testing.assert_allclose(found.numpy(), reference(velocity, target, mask), rtol=1e-5, atol=1e-6)


def test_a_masked_cell_carries_no_gradient() -> None:
    velocity = torch.zeros(1, 2, 2, requires_grad=True)
    mask = torch.tensor([[[True, False], [True, False]]])
    masked_loss(velocity, torch.ones(1, 2, 2), mask).sum().backward()
    assert velocity.grad is not None
    assert velocity.grad[..., 0].abs().min() > 0
    assert velocity.grad[..., 1].abs().max() == 0


@pytest.mark.parametrize(
    ("distribution", "mean"),
    [("logit_normal", 0.5), ("beta_clean", 0.999 * 0.4), ("beta_noisy", 0.001 + 0.999 * 0.6)],
)
def test_tau_has_its_distribution(distribution: TauDistribution, mean: float) -> None:
    tau = sample_tau(distribution, 40_000, torch.Generator().manual_seed(0))
    assert tau.min() >= 0
    assert tau.max() <= 1
    assert abs(tau.mean().item() - mean) < 0.005


def test_interpolation_is_clean_at_zero_and_noise_at_one() -> None:
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(interpolate(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(interpolate(clean, noise, torch.ones(2)), noise)


def test_integrator_follows_the_straight_path_exactly() -> None:
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for steps in (1, 4, 10):
        torch.testing.assert_close(integrate(lambda y, tau: noise - clean, noise, steps), clean)  # noqa: ARG005


def test_integrator_converges_on_a_curved_path() -> None:
    start = torch.ones(1, 1, 1)  # dy/dtau = y, so going back from 1 to 0 divides by e
    errors = [abs(float(integrate(lambda y, tau: y, start, steps)) - np.exp(-1)) for steps in (4, 8, 16)]  # noqa: ARG005
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]
