"""Pretrained weights come from files alone, and only into the network they belong to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.model.tiny import INSTRUCTIONS, sample, tiny_backbone, tiny_policy
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code, PolicyError
from volano.model.config import BackboneFamily
from volano.model.families import FAMILIES
from volano.model.folder import load, save
from volano.model.policy import Policy
from volano.model.pretrained import load_tokenizer


def released(folder: Path, family: BackboneFamily) -> Policy:
    """A policy whose backbone was saved as its makers release one."""
    policy = tiny_policy(backbone=tiny_backbone(family))
    policy.backbone.network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(policy.tokenizer.to_str())
    return policy


def started(policy: Policy, folder: Path, **changes: object) -> Policy:
    """A new policy that starts from the released weights."""
    backbone = replace(policy.config.backbone, pretrained=str(folder), **changes)  # type: ignore[arg-type]
    cameras = {camera.name for robot in SHIPPED.values() for camera in robot.cameras}
    return Policy(
        replace(policy.config, backbone=backbone), load_tokenizer(str(folder), cameras), policy.codecs, pretrained=True
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_starts_from_exactly_the_released_weights(tmp_path: Path, family: BackboneFamily) -> None:
    policy = released(tmp_path, family).eval()
    again = started(policy, tmp_path).eval()
    batch = policy.batch([sample("scout", INSTRUCTIONS[1])])
    with torch.no_grad():
        torch.testing.assert_close(
            policy.backbone(batch.prompted).states_TV, again.backbone(batch.prompted).states_TV, atol=0, rtol=0
        )


def test_weights_of_another_network_are_refused_by_the_number_that_differs(tmp_path: Path) -> None:
    policy = released(tmp_path, "qwen3_vl")
    with pytest.raises(PolicyError, match=r"text_config.intermediate_size is 64 there and 96 in the recipe") as refused:
        started(policy, tmp_path, mlp_width=96)
    assert refused.value.code == Code.POLICY_FORMAT


def test_a_place_without_weights_is_refused(tmp_path: Path) -> None:
    policy = tiny_policy()
    with pytest.raises(PolicyError, match="no backbone of this recipe"):
        started(policy, tmp_path / "nothing")


def test_an_exported_policy_is_whole_and_names_no_weights_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    (tmp_path / "policy").mkdir()
    policy = started(released(tmp_path / "released", "qwen3_vl"), tmp_path / "released")
    save(policy, tmp_path / "policy")
    config = json.loads((tmp_path / "policy" / "config.json").read_text())
    assert config["model"]["backbone"]["pretrained"] == ""
    load(tmp_path / "policy")
    config["model"]["backbone"]["pretrained"] = "somebody/else"
    (tmp_path / "policy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(PolicyError, match="a policy is whole"):
        load(tmp_path / "policy")
