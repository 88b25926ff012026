"""Adapters train alone in the backbone, and an exported policy holds what they learned and nothing of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.model.tiny import sample, tiny_backbone, tiny_policy
from tests.unit.train.test_loop import EPISODES, RUN
from volano.model.config import BackboneFamily
from volano.model.families import FAMILIES
from volano.model.folder import load, save, weights
from volano.model.policy import Policy
from volano.train.config import LoraConfig, RunConfig
from volano.train.loop import train
from volano.train.lora import adapt, is_adapter, merge
from volano.train.stage import Worker

LORA = LoraConfig(rank=2, alpha=8)
LORA_RUN: RunConfig = replace(RUN, lora=LORA, stages=RUN.stages[1:])


def losses(policy: Policy) -> torch.Tensor:
    batch = policy.batch([sample("scout"), sample("sawyer")])
    with torch.no_grad():
        return policy.eval().loss(batch, "logit_normal", torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_new_adapters_change_nothing_trained_ones_do_and_merged_they_do_the_same(
    tmp_path: Path, family: BackboneFamily
) -> None:
    policy = tiny_policy(backbone=tiny_backbone(family))
    before, frozen = losses(policy), {name: p.clone() for name, p in policy.backbone.network.named_parameters()}
    adapt(policy, LORA)
    assert torch.equal(before, losses(policy))
    train(policy, EPISODES, LORA_RUN, tmp_path / "checkpoints", Worker())
    for name, parameter in policy.backbone.network.named_parameters():
        if not is_adapter(name):
            assert torch.equal(parameter, frozen[name.replace(".base_layer", "")]), name
    trained = losses(policy)
    assert not torch.allclose(before, trained)
    merge(policy)
    torch.testing.assert_close(losses(policy), trained, atol=1e-5, rtol=1e-5)
    (tmp_path / "policy").mkdir()
    save(policy, tmp_path / "policy")
    assert not any(map(is_adapter, weights(load(tmp_path / "policy"))))


def test_a_killed_run_with_adapters_goes_on_bit_equal(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(step: int, _metrics: object) -> None:
        if step == 3:
            raise Killed

    ended = []
    for name, kills in (("whole", 0), ("killed", 1)):
        if kills:
            policy = tiny_policy()
            adapt(policy, LORA)
            with pytest.raises(Killed):
                train(policy, EPISODES, LORA_RUN, tmp_path / name, Worker(record=kill))
        torch.manual_seed(7)  # whatever the adapters began with, the checkpoint decides
        policy = tiny_policy()
        adapt(policy, LORA)
        train(policy, EPISODES, LORA_RUN, tmp_path / name, Worker())
        ended.append(weights(policy))
    assert ended[0].keys() == ended[1].keys()
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])
