"""A stage changes the parts that it says, at the rates that it says, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES, RUN, STAGES
from volano.errors import TrainError
from volano.train.config import OptimizerConfig
from volano.train.loop import train
from volano.train.optim import build_optimizer, rates_of
from volano.train.parts import BACKBONE, PARTS, is_backbone_frozen, part_of
from volano.train.stage import Worker


def changed(folder: Path, frozen: Sequence[str], optimizer: OptimizerConfig) -> set[str]:
    """Names of the parameters that two steps with images change. Nothing decays: that would change all of them."""
    policy = tiny_policy()
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    stage = replace(STAGES[1], steps=2, frozen=tuple(frozen), optimizer=optimizer)
    train(policy, EPISODES, replace(RUN, stages=(stage,), average=0.0), folder, Worker())
    return {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}


PLAIN = OptimizerConfig(weight_decay=0.0)


def test_what_is_frozen_stays_and_all_else_learns_as_before(tmp_path: Path) -> None:
    free = changed(tmp_path / "free", (), PLAIN)
    assert {part_of(name) for name in free} == set(PARTS)
    for part in PARTS:
        learned = changed(tmp_path / part, (part,), PLAIN)
        assert learned == {name for name in free if part_of(name) != part}, part
    assert {part_of(name) for name in changed(tmp_path / "backbone", BACKBONE, PLAIN)} == {"expert"}


def test_a_part_learns_at_its_own_rate(tmp_path: Path) -> None:
    learned = changed(tmp_path, (), replace(PLAIN, rates={"vision": 0.0, "connector": 0.0}))
    assert {part_of(name) for name in learned} == {"embeddings", "language", "expert"}


def test_groups_say_what_they_are() -> None:
    config = OptimizerConfig(rates={"vision": 1e-4}, decay_vectors=False, weight_decay=0.1)
    optimizer = build_optimizer(tiny_policy(), config, frozen=("embeddings",))
    decays = {(group["part"], group["weight_decay"]) for group in optimizer.param_groups}
    assert decays == {(part, decay) for part in PARTS if part != "embeddings" for decay in (0.1, 0.0)}
    assert rates_of(optimizer)["vision"] == 1e-4
    assert rates_of(optimizer)["language"] == config.backbone_rate
    assert all(p.ndim < 2 for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"])
    muon = build_optimizer(tiny_policy(), OptimizerConfig(kind="muon", clip=0.0), frozen=BACKBONE)
    assert [(group["part"], group["name"]) for group in muon.param_groups] == [
        ("expert", "expert"),
        ("expert", "matrices"),
    ]


@pytest.mark.parametrize(
    ("frozen", "config", "says"),
    [
        (("visoin",), PLAIN, "did you mean 'vision'"),
        ((), replace(PLAIN, rates={"heads": 1.0}), "no part 'heads'"),
        (PARTS, PLAIN, "every part is frozen"),
    ],
)
def test_parts_that_are_none_are_refused(frozen: Sequence[str], config: OptimizerConfig, says: str) -> None:
    with pytest.raises(TrainError, match="E-TRAIN-004") as caught:
        build_optimizer(tiny_policy(), config, frozen=frozen)
    assert says in str(caught.value)


def test_a_backbone_is_frozen_when_all_of_it_is() -> None:
    assert is_backbone_frozen(BACKBONE)
    assert is_backbone_frozen(PARTS)
    assert not is_backbone_frozen(BACKBONE[1:])
