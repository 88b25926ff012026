"""One set of weights for every robot: batching, padding, saving and freezing change nothing they should not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.model.tiny import INSTRUCTIONS, sample, tiny_backbone, tiny_policy
from volano.embodiment.shipped import SHIPPED
from volano.errors import ContractError, PolicyError
from volano.inference.guard import check_chunk
from volano.model.config import BackboneFamily, FlowConfig
from volano.model.families import FAMILIES
from volano.model.folder import load, save
from volano.model.policy import Policy


def losses(policy: Policy, *samples: object) -> torch.Tensor:
    """Loss of each sample, with the noise of a batch of one repeated for all."""
    out = []
    for one in samples:
        generator = torch.Generator().manual_seed(3)
        out.append(policy.loss(policy.batch([one]), "logit_normal", generator))  # type: ignore[list-item]
    return torch.cat(out)


def hidden_velocity(policy: Policy, samples: list[object]) -> torch.Tensor:
    """Velocity at a fixed noise, tau = 0.5."""
    batch = policy.batch(samples)  # type: ignore[arg-type]
    noise = torch.linspace(-1, 1, 64).reshape(1, 8, 8).expand(len(samples), 8, 8)
    hidden = policy.backbone(batch.prompted)
    velocity = policy._velocity(noise, torch.full((len(samples),), 0.5), hidden, batch.state_BC)
    return velocity[batch.order.argsort()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("state_input", ["none", "text", "continuous"])
def test_a_batch_of_all_robots_equals_one_at_a_time(state_input: str, family: BackboneFamily) -> None:
    policy = tiny_policy(state_input=state_input, backbone=tiny_backbone(family)).eval()
    samples: list[object] = [
        sample(tag, text, seed=n) for n, (tag, text) in enumerate(zip(SHIPPED, INSTRUCTIONS * 2, strict=False))
    ]
    with torch.no_grad():
        together = hidden_velocity(policy, samples)
        alone = torch.cat([hidden_velocity(policy, [one]) for one in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_prompt_selects_the_robot_and_the_task() -> None:
    policy = tiny_policy().eval()
    scout = sample("scout")
    base = hidden_velocity(policy, [scout])
    other_task = hidden_velocity(policy, [sample("scout", INSTRUCTIONS[1])])
    assert (base - other_task).abs().max() > 1e-4
    other_view = hidden_velocity(policy, [sample("scout", seed=9)])
    assert (base - other_view).abs().max() > 1e-4


def test_state_reaches_the_expert_only_when_asked_for() -> None:
    first, second = sample("scout"), sample("scout")
    object.__setattr__(second, "state", second.state + 0.5)
    for state_input, reaches in (("none", False), ("text", True), ("continuous", True)):
        policy = tiny_policy(state_input=state_input).eval()
        moved = (hidden_velocity(policy, [first]) - hidden_velocity(policy, [second])).abs().max() > 1e-6
        assert bool(moved) is reaches


def test_text_only_batches_need_no_images() -> None:
    policy = tiny_policy()
    assert torch.isfinite(losses(policy, sample("car", images=False))).all()


def test_a_frozen_backbone_gets_no_gradient_and_the_expert_does() -> None:
    policy = tiny_policy()
    batch = policy.batch([sample("sawyer"), sample("car")])
    generator = torch.Generator().manual_seed(0)
    policy.loss(batch, "beta_clean", generator, freeze_backbone=True).mean().backward()
    assert all(parameter.grad is None for parameter in policy.backbone.parameters())
    assert all(parameter.grad is not None for parameter in policy.expert.parameters())
    policy.loss(batch, "beta_clean", generator).mean().backward()
    vision = [p.grad for n, p in policy.backbone.named_parameters() if "visual.patch_embed" in n]
    assert vision
    assert all(grad is not None and grad.abs().max() > 0 for grad in vision)


def test_actions_have_each_robots_shape_and_limits() -> None:
    policy = tiny_policy().eval()
    samples = [sample(tag) for tag in SHIPPED]
    chunks = policy.act(samples, torch.Generator().manual_seed(0))
    for one, chunk in zip(samples, chunks, strict=True):
        robot = SHIPPED[one.embodiment]
        assert chunk.shape == (robot.horizon, len(robot.action))
        assert np.isfinite(chunk).all()
        np.testing.assert_allclose(check_chunk(robot, chunk), chunk, atol=1e-4)


def test_saved_and_loaded_it_acts_the_same(tmp_path: Path) -> None:
    policy = tiny_policy().eval()
    save(policy, tmp_path)
    again = load(tmp_path)
    samples = [sample(tag) for tag in SHIPPED]
    first, second = (p.act(samples, torch.Generator().manual_seed(5)) for p in (policy, again))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "statistics.json", "tokenizer.json"])
def test_a_damaged_folder_is_refused_with_a_code(tmp_path: Path, name: str) -> None:
    save(tiny_policy(), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(PolicyError, match="E-POLICY-001"):
        load(tmp_path)


def test_an_unknown_robot_is_refused() -> None:
    with pytest.raises(ContractError, match="E-CONTRACT-002"):
        tiny_policy().codec("unicorn")


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_keeps_less_and_gives_the_same_gradients(family: BackboneFamily) -> None:
    kept = []
    for recompute in (False, True):
        policy = tiny_policy(backbone=tiny_backbone(family)).train()
        if recompute:
            policy.recompute_activations()
        held: dict[int, int] = {}

        def note(tensor: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = policy.loss(policy.batch([sample("scout")] * 4), "logit_normal", torch.Generator().manual_seed(0))
        loss.mean().backward()
        gradients = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
        kept.append((sum(held.values()), gradients))
    (much, plain), (little, again) = kept
    assert little < 0.7 * much
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, again[name], atol=1e-6, rtol=1e-4)


def test_a_constant_prompt_tells_no_robot_from_another() -> None:
    """Scout and glider differ in their prompts and in nothing else that a network without state sees."""
    for prompt, apart in (("embodiment", True), ("constant", False)):
        policy = tiny_policy(prompt=prompt).eval()
        scout = sample("scout", seed=4)
        glider = replace(scout, embodiment="glider", state=sample("glider").state)
        with torch.no_grad():
            found = hidden_velocity(policy, [scout]), hidden_velocity(policy, [glider])
        assert torch.equal(*found) is not apart


def test_an_unmasked_loss_asks_for_zeros_where_nothing_is_recorded() -> None:
    one = sample("scout")
    assert one.target is not None
    assert one.mask is not None
    unmasked = tiny_policy(flow=FlowConfig(mask_loss=False))
    filled = replace(one, mask=np.ones_like(one.mask))
    torch.testing.assert_close(losses(unmasked, one), losses(tiny_policy(), filled))
    assert not torch.allclose(losses(unmasked, one), losses(tiny_policy(), one))
