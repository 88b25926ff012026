"""What is used again of a robot's last observation is what would have been computed, whatever changed and whoever else
is in the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.model.tiny import INSTRUCTIONS, sample, tiny_backbone, tiny_policy
from volano.model.config import BackboneFamily, PromptOrder
from volano.model.policy import Policy, Sample
from volano.model.reuse import Memory

FAMILIES: tuple[BackboneFamily, ...] = ("qwen3_vl", "qwen3_5", "qwen2_5_vl")
NEAR = 1e-5


def policy_of(family: BackboneFamily = "qwen3_vl", order: PromptOrder = "images_first") -> Policy:
    return tiny_policy(backbone=tiny_backbone(family), order=order).eval()


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of()


def acted(policy: Policy, samples: list[Sample], memory: Memory | None) -> np.ndarray:
    noise = torch.randn(len(samples), 8, 8, generator=torch.Generator().manual_seed(0))
    return policy.normalized_from(samples, noise, memory).numpy()


class Counted:
    """How many images and tokens a backbone was asked for."""

    def __init__(self, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.tokens = 0, 0
        see, run = policy.backbone._see, policy.backbone._run

        def seen(images: tuple[torch.Tensor, ...]) -> object:
            self.images += sum(map(len, images))
            return see(images)

        def ran(batch: object, **given: object) -> object:
            self.tokens += sum(batch.packing.lengths)  # type: ignore[attr-defined]
            return run(batch, **given)  # type: ignore[arg-type]

        monkeypatch.setattr(policy.backbone, "_see", seen)
        monkeypatch.setattr(policy.backbone, "_run", ran)

    def since(self) -> tuple[int, bool]:
        found = (self.images, bool(self.tokens))
        self.images = self.tokens = 0
        return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", ["images_first", "prompt_first"])
def test_whatever_changes_the_actions_are_those_of_a_network_that_remembers_nothing(
    family: BackboneFamily, order: PromptOrder
) -> None:
    policy, memory, random = policy_of(family, order), Memory(64 << 20), np.random.default_rng(0)
    shown = {name: sample("scout", seed=number) for number, name in enumerate("abc")}
    for _ in range(12):
        for name, one in shown.items():
            changed = [
                replace(one, instruction=str(random.choice(INSTRUCTIONS))),
                replace(one, images=sample("scout", seed=int(random.integers(4))).images),
                replace(one, images=(random.integers(0, 256, (32, 96, 3), np.uint8),)),
                replace(one, state=random.uniform(-1, 1, len(one.state)).astype(np.float32)),
                one,
            ]
            shown[name] = replace(changed[random.integers(len(changed))], session=name)
        batch = [shown[name] for name in random.permutation(list(shown))[: random.integers(1, 4)]]
        np.testing.assert_allclose(acted(policy, batch, memory), acted(policy, batch, None), atol=NEAR)


def test_only_what_changed_is_computed(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, memory = Counted(policy, monkeypatch), Memory(64 << 20)
    one, other = replace(sample("scout"), session="a"), replace(sample("scout", seed=1), session="b")
    acted(policy, [one, other], memory)
    assert counted.since() == (2, True)
    acted(policy, [other, one], memory)
    assert counted.since() == (0, False), "nothing changed"
    acted(policy, [replace(one, state=one.state + 1)], memory)
    assert counted.since() == (0, False), "the backbone does not read the state"
    acted(policy, [replace(one, instruction="go home"), other], memory)
    assert counted.since() == (0, True), "other words, the same image"
    acted(policy, [replace(one, images=other.images)], memory)
    assert counted.since() == (1, True), "what another robot showed is not used"
    acted(policy, [replace(one, session=""), replace(one, session="")], memory)
    assert counted.since() == (2, True)


def test_an_image_that_was_written_over_is_another_one(policy: Policy) -> None:
    memory, shown = Memory(64 << 20), sample("scout").images[0].copy()
    one = replace(sample("scout"), images=(shown,), session="a")
    acted(policy, [one], memory)
    shown[:] = 255 - shown
    np.testing.assert_allclose(acted(policy, [one], memory), acted(policy, [one], None), atol=NEAR)


def test_memory_is_bounded_and_the_oldest_is_forgotten(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(64 << 20)
    acted(policy, [replace(sample("scout"), session="a")], memory)
    bounded = Memory(int(2.5 * memory.size))
    for name in "abca":
        acted(policy, [replace(sample("scout"), session=name)], bounded)
        assert bounded.size <= 2.5 * memory.size
    counted = Counted(policy, monkeypatch)
    for name, images in (("a", 0), ("c", 0), ("b", 1)):
        acted(policy, [replace(sample("scout"), session=name)], bounded)
        assert counted.since()[0] == images
    small = Memory(1)
    acted(policy, [replace(sample("scout"), session="a")], small)
    assert small.size == 0
