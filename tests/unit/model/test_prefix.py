"""Chunks that go on from a prefix: the papers' formulas in plain NumPy, and nothing changed where there is none."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.model.test_flow import reference
from tests.unit.model.tiny import sample, tiny_policy
from volano.embodiment.frames import compose
from volano.embodiment.prefix import Prefix
from volano.embodiment.shipped import SHIPPED
from volano.model.config import FlowConfig, PathFrame
from volano.model.flow import integrate, sample_tau
from volano.model.policy import Policy, Sample
from volano.model.prefix import Prefixes, draw_prefixes, guidance_weight, integrate_from, leading_rows, soft_weights

TRAINED = FlowConfig(trained_prefix=3)


@pytest.mark.parametrize(("known", "delay", "horizon"), [(5, 2, 8), (4, 4, 8), (6, 0, 8), (8, 3, 8), (1, 1, 1)])
def test_weights_are_those_of_the_papers_equation(known: int, delay: int, horizon: int) -> None:
    expected = []
    for row in range(horizon):
        c = (known - row) / (known - delay + 1)
        expected.append(1.0 if row < delay else c * (math.exp(c) - 1) / (math.e - 1) if row < known else 0.0)
    np.testing.assert_allclose(soft_weights(known, delay, horizon).numpy(), expected, rtol=1e-6)


def test_the_guidance_is_bounded_at_both_ends_and_the_papers_between() -> None:
    for steps, most in ((4, 4.0), (10, 5.0)):
        assert guidance_weight(1.0, steps) == most
        assert guidance_weight(1e-9, steps) == most
    time = 0.4  # of the paper: 0 is noise there
    variance = (1 - time) ** 2 / (time**2 + (1 - time) ** 2)
    assert guidance_weight(1 - time, 10) == pytest.approx((1 - time) / (time * variance))


def guided(noise: NDArray[np.float64], mix: NDArray[np.float64], given: Prefixes, steps: int) -> NDArray[np.float64]:
    """The algorithm for the velocity `y @ mix + tau`, whose Jacobian is known, in float64 and the paper's words."""
    y = noise
    clean, weights, frozen = (x.double().numpy() for x in (given.clean_BHK, given.weight_BHK, given.frozen_BHK))
    for step in range(steps):
        tau = 1 - step / steps
        velocity = -(y @ mix + tau)  # the paper's points to the data
        expected = y + tau * velocity
        jacobian = np.eye(len(mix)) - tau * mix
        correction = (weights * (clean - expected)) @ jacobian.T
        time, most = 1 - tau, min(5, steps)
        strength = most if time == 0 else min(most, tau / (time * (tau**2 / (time**2 + tau**2))))
        y = y + (velocity + strength * correction) / steps
        time = (step + 1) / steps
        y = (1 - weights) * y + weights * (time * clean + (1 - time) * noise)
    return np.where(frozen, clean, y)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_guidance_is_the_algorithm_of_the_papers_with_rows_drawn_to_the_prefix(steps: int) -> None:
    random = np.random.default_rng(0)
    mix, noise, clean = random.normal(size=(3, 3)), random.normal(size=(2, 8, 3)), random.normal(size=(2, 8, 3))
    weights = torch.stack([soft_weights(5, 2, 8), soft_weights(6, 0, 8)])[..., None].double()
    given = Prefixes(
        clean_BHK=torch.from_numpy(clean),
        frozen_BHK=leading_rows(torch.tensor([2, 0]), 8)[..., None].expand(2, 8, 3),
        weight_BHK=weights.expand(2, 8, 3),
        pinned_B=torch.zeros(2, dtype=torch.long),
    )
    found = integrate_from(
        lambda y, tau: y @ torch.from_numpy(mix) + tau[:, None, None], torch.from_numpy(noise), steps, given
    )
    np.testing.assert_allclose(found.numpy(), guided(noise, mix, given, steps), rtol=1e-6, atol=1e-9)


def test_a_pinned_row_is_what_the_network_sees_at_every_step_and_what_comes_out() -> None:
    clean, noise, seen = torch.randn(1, 4, 2), torch.randn(1, 4, 2), []
    given = Prefixes(
        clean_BHK=clean,
        frozen_BHK=leading_rows(torch.tensor([2]), 4)[..., None].expand(1, 4, 2),
        weight_BHK=torch.zeros(1, 4, 2),
        pinned_B=torch.tensor([2]),
    )

    def velocity(y: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        del tau
        seen.append(y[:, :2])
        return torch.ones_like(y)

    found = integrate_from(velocity, noise, 3, given)
    assert [torch.equal(one, clean[:, :2]) for one in seen] == [True] * 3
    assert torch.equal(found[:, :2], clean[:, :2])
    torch.testing.assert_close(found[:, 2:], noise[:, 2:] - 1)


def test_without_a_prefix_the_integral_is_the_old_one() -> None:
    noise, zeros = torch.randn(2, 4, 3), torch.zeros(2, 4, 3)
    none = Prefixes(
        clean_BHK=zeros, frozen_BHK=zeros.bool(), weight_BHK=zeros, pinned_B=torch.zeros(2, dtype=torch.long)
    )
    for steps in (1, 4):
        found = integrate_from(lambda y, tau: y.sin() * tau[:, None, None], noise, steps, none)
        assert torch.equal(found, integrate(lambda y, tau: y.sin() * tau[:, None, None], noise, steps))


def test_every_length_up_to_the_longest_is_drawn_as_often_and_something_is_left_to_learn() -> None:
    mask = torch.zeros(4000, 8, 2, dtype=torch.bool)
    mask[:, :6] = True
    mask[3000:, 2:] = False
    found = draw_prefixes(3, mask, torch.rand(4000, generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(found[:3000], minlength=4)
    assert len(counts) == 4
    assert (counts - 750).abs().max() < 100
    assert set(found[3000:].tolist()) == {0, 1}
    assert draw_prefixes(3, torch.zeros(1, 8, 2, dtype=torch.bool), torch.tensor([0.99])).item() == 0


def test_the_loss_with_prefixes_equals_the_reference() -> None:
    """Noise, tau and lengths drawn as the policy does; the rest one cell after another in float64."""
    policy = tiny_policy(flow=TRAINED).eval()
    samples = [sample(tag, seed=number) for number, tag in enumerate(SHIPPED)]
    batch = policy.batch(samples)
    assert batch.target_BHK is not None
    assert batch.mask_BHK is not None
    clean, mask = batch.target_BHK.double().numpy(), batch.mask_BHK.numpy()
    generator, order = torch.Generator().manual_seed(5), batch.order
    noise = torch.randn(4, 8, 8, generator=generator)[order]
    tau = sample_tau("logit_normal", 4, generator)[order]
    lengths = [math.floor(value * 4) for value in torch.rand(4, generator=generator)[order].tolist()]
    assert len(set(lengths)) > 1
    given = np.arange(8) < np.array(lengths)[:, None]
    times = np.where(given, 0.0, tau.double().numpy()[:, None])[..., None]
    noisy = torch.from_numpy((1 - times) * clean + times * noise.double().numpy()).float()
    with torch.no_grad():
        hidden = policy.backbone(batch.prompted)
        velocity = policy.expert(noisy, tau, hidden, batch.state_BC, torch.from_numpy(given))
        found = policy.loss(batch, "logit_normal", torch.Generator().manual_seed(5))
    expected = reference(velocity.numpy(), noise.double().numpy() - clean, mask & ~given[..., None])
    np.testing.assert_allclose(found[order].numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("modulation", ["zero", "scale_shift"])
def test_a_given_row_stands_at_the_clean_end_and_no_other_does(modulation: str) -> None:
    expert = replace(tiny_policy().config.expert, modulation=modulation)  # type: ignore[arg-type]
    policy = tiny_policy(expert=expert, state_input="continuous").eval()
    batch = policy.batch([sample("scout"), sample("car")])
    noisy, rows = torch.randn(2, 8, 8), torch.tensor([3, 0])
    with torch.no_grad():
        hidden = policy.backbone(batch.prompted)

        def velocity(tau: float, clean: torch.Tensor | None) -> torch.Tensor:
            return policy._velocity(noisy, torch.full((2,), tau), hidden, batch.state_BC, clean)

        some, nothing = leading_rows(rows, 8), leading_rows(torch.zeros(2, dtype=torch.long), 8)
        torch.testing.assert_close(velocity(0.7, nothing), velocity(0.7, None), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(velocity(0.0, some), velocity(0.0, None), atol=1e-5, rtol=1e-4)
        changed = (velocity(0.7, some) - velocity(0.7, None)).abs().amax(dim=(1, 2))
    assert changed[0] > 1e-4
    assert changed[1] < 1e-5, "a sample without given rows"


def prefixed(one: Sample, rows: int, delay: int) -> Sample:
    robot = SHIPPED[one.embodiment]
    steps = np.random.default_rng(rows).uniform(-0.9, 0.9, (rows, len(robot.action)))
    actions = compose(steps) if robot.action_frame == "anchored_se2" else steps
    return replace(one, prefix=Prefix(actions=actions.astype(np.float32), delay=delay))


def answers(policy: Policy, samples: list[Sample]) -> list[NDArray[np.float32]]:
    """From noise that belongs to the embodiment."""
    tags = sorted(SHIPPED)
    noise = [torch.randn(8, 8, generator=torch.Generator().manual_seed(tags.index(s.embodiment))) for s in samples]
    return policy.act_from(samples, torch.stack(noise))


@pytest.mark.parametrize("flow", [FlowConfig(), TRAINED, FlowConfig(mask_padded_noise=True)])
def test_a_batch_may_mix_those_that_go_on_with_those_that_do_not(flow: FlowConfig) -> None:
    policy = tiny_policy(flow=flow).eval()
    sawyer, scout, glider, car = (sample(tag) for tag in ("sawyer", "scout", "glider", "car"))
    samples = [sawyer, prefixed(scout, 4, 2), prefixed(glider, 4, 4), prefixed(car, 6, 1)]
    together = answers(policy, samples)
    for one, found in zip(samples, together, strict=True):
        np.testing.assert_allclose(found, answers(policy, [one])[0], atol=1e-4)
    plain = answers(policy, [sawyer, scout, glider, car])
    np.testing.assert_allclose(together[0], plain[0], atol=1e-4)
    for found, without in zip(together[1:], plain[1:], strict=True):
        assert np.abs(found - without)[4:].max() > 2e-4, "what comes behind the prefix follows from it"


@pytest.mark.parametrize("flow", [FlowConfig(), TRAINED])
@pytest.mark.parametrize("frame", ["step", "anchored"])
def test_frozen_rows_are_answered_as_they_are_executed(flow: FlowConfig, frame: PathFrame) -> None:
    policy = tiny_policy(flow=flow, path_frame=frame).eval()
    car = prefixed(sample("car"), 5, 3)
    if frame == "anchored":  # the tiny codec knows poses within 1 m
        assert car.prefix is not None
        car = replace(car, prefix=Prefix(actions=(car.prefix.actions / 4).astype(np.float32), delay=3))
    for one in (prefixed(sample("scout"), 5, 3), car):
        assert one.prefix is not None
        np.testing.assert_allclose(answers(policy, [one])[0][:3], one.prefix.actions[:3], atol=1e-5)


def test_the_form_that_is_trained_adds_no_weight() -> None:
    plain, trained = tiny_policy(), tiny_policy(flow=TRAINED)
    assert {name: p.shape for name, p in plain.named_parameters()} == {
        name: p.shape for name, p in trained.named_parameters()
    }
