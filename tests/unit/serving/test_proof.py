"""A policy's actions in bf16 are held against fp32 before any robot hears them."""

import numpy as np
import pytest
import torch
from torch import nn

from serving.proof import OBSERVATIONS, generated, prove
from serving.work import answer
from tests.unit.model.tiny import tiny_policy
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code, PolicyError
from volano.inference.session import PROMPT, STATE, check_observation, image_key
from volano.model.engine import REFERENCE, Engine
from volano.model.policy import Policy

BF16 = Engine(precision="bf16")


def policy_of(*tags: str) -> Policy:
    policy = tiny_policy()
    policy.codecs = {tag: policy.codecs[tag] for tag in tags}
    return policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of("scout", "glider")


def test_the_reference_needs_no_proof(policy: Policy) -> None:
    assert prove(policy, REFERENCE) == ()


def test_every_robot_is_proved_in_bf16_and_nothing_is_left_of_it_in_fp32(policy: Policy) -> None:
    work = generated(SHIPPED["scout"])[:2]
    before = answer(policy, work)
    found = prove(policy, BF16)
    assert [one.tag for one in found] == ["glider", "scout"]
    assert all(one.observations == OBSERVATIONS and 0 < one.difference < 0.005 < one.cosine for one in found)
    in_bf16 = answer(policy, work, BF16)
    assert not np.array_equal(before, in_bf16), "or nothing was compared"
    np.testing.assert_array_equal(before, answer(policy, work))


def test_a_policy_that_bf16_changes_is_refused() -> None:
    """Weights that all but cancel each other: bf16 has no digits for what is left."""
    policy = policy_of("scout")
    first, last = policy.expert.action_out[0], policy.expert.action_out[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.bias.add_(300.0)
        last.weight.mul_(0.1)
        last.weight.sub_(last.weight.mean(dim=1, keepdim=True))
    with pytest.raises(PolicyError) as caught:
        prove(policy, BF16)
    assert caught.value.code is Code.POLICY_PARITY


@pytest.mark.parametrize("tag", SHIPPED)
def test_what_is_generated_is_what_the_robot_may_send(tag: str) -> None:
    robot = SHIPPED[tag]
    work = generated(robot)
    assert len(work) == OBSERVATIONS
    assert {one.sample.prefix is None for one in work} == {True, False}
    for one in work:
        names = [image_key(camera.name) for camera in robot.cameras]
        images = dict(zip(names, one.sample.images, strict=True))
        check_observation(robot, {**images, STATE: one.sample.state, PROMPT: one.sample.instruction})
