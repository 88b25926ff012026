"""Arms differ from the base in what they name, and specialists together take as many steps as the generalist."""

from dataclasses import replace

import pytest

from jobs.experiment.arms import CLAIMS, HELD_OUT, arms, select
from jobs.recipes import recipe
from volano.config import to_json
from volano.embodiment.shipped import SHIPPED
from volano.errors import ConfigError
from volano.train.sets import check_sets

BASE = recipe("nano_t2a")
TAGS = tuple(sorted(SHIPPED))
ARMS = arms(TAGS, BASE)


def differences(one: object, other: object, path: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return set().union(*(differences(one.get(key), other.get(key), f"{path}.{key}") for key in keys))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return set().union(*(differences(a, b, f"{path}.{n}") for n, (a, b) in enumerate(zip(one, other, strict=True))))
    return set() if one == other else {path}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("base", set()),
        ("no_t2a", {".stages"}),
        ("t2a_real", {".stages.0.mixture.episodes", ".stages.0.mixture.language_action"}),
        ("t2a_synthetic", {".stages.0.mixture.episodes", ".stages.0.mixture.language_action"}),
        ("constant_prompt", {".model.prompt"}),
        ("unmasked_loss", {".model.flow.mask_loss"}),
        ("t2a_beta", {".stages.0.tau"}),
        ("sft_logit_normal", {".stages.1.tau"}),
        ("sft_beta_clean", {".stages.1.tau"}),
    ],
)
def test_an_arm_changes_what_it_names(name: str, changed: set[str]) -> None:
    assert differences(to_json(BASE), to_json(ARMS[name].change(BASE))) == changed


def test_specialists_together_take_the_generalists_steps() -> None:
    steps = [
        [stage.steps for stage in arm.change(BASE).stages]
        for name, arm in ARMS.items()
        if name.startswith("specialist")
    ]
    together = [sum(numbers) for numbers in zip(*steps, strict=True)]
    assert len(steps) == len(TAGS)
    assert together == pytest.approx([stage.steps for stage in BASE.stages], abs=len(TAGS))


def test_what_is_held_out_is_not_learned_from_and_has_no_share() -> None:
    arm = ARMS["held_out"]
    assert HELD_OUT not in arm.learns
    assert arm.plays == (HELD_OUT,)
    assert all(HELD_OUT not in stage.shares for stage in arm.change(BASE).stages)


def test_parents_come_first_and_claims_name_arms() -> None:
    seen: set[str] = set()
    for arm in ARMS.values():
        assert not arm.parent or arm.parent in seen
        seen.add(arm.name)
    assert {name for claim in CLAIMS for name in (claim.better, claim.worse)} <= seen


def test_an_arm_brings_along_the_one_that_it_starts_from() -> None:
    assert list(select(ARMS, "few_shot_5,base")) == ["base", "held_out", "few_shot_5"]
    assert select(ARMS, "") == ARMS
    with pytest.raises(ConfigError, match=r"(?s)E-CONFIG-003 .*'few_shot_6'.*few_shot_5"):
        select(ARMS, "base,few_shot_6")


def test_few_shots_cost_the_same_with_and_without_a_parent() -> None:
    short = replace(BASE, stages=(BASE.stages[0], replace(BASE.stages[1], steps=8)))
    assert ARMS["few_shot_20"].change(short) == ARMS["scratch_20"].change(short)
    assert [stage.steps for stage in ARMS["few_shot_5"].change(short).stages] == [2]


def test_without_a_corpus_no_arm_asks_for_one() -> None:
    plain = recipe("nano")
    assert not {"t2a_real", "t2a_synthetic"} & arms(TAGS, plain).keys()
    assert all(not stage.mixture for arm in arms(TAGS, plain).values() for stage in arm.change(plain).stages)


def test_a_specialist_learns_from_its_robot_alone() -> None:
    for name, arm in ARMS.items():
        if name.startswith(("specialist", "few_shot", "scratch")):
            assert all(not stage.mixture for stage in arm.change(BASE).stages)


@pytest.mark.parametrize("name", sorted(ARMS))
def test_every_arm_can_be_drawn(name: str) -> None:
    arm = ARMS[name]
    check_sets(arm.change(BASE), {tag: SHIPPED[tag] for tag in arm.learns or TAGS}, None)
