"""Means, differences and findings from a few numbers that can be checked by hand."""

import math

import pytest

from jobs.experiment.arms import Claim
from jobs.experiment.table import Result, by_arm, generalist_share, judge, markdown, mean

CLAIM = Claim(says="more is more", better="more", worse="less")


def results(arm: str, *successes: int, tag: str = "scout") -> list[Result]:
    return [Result(arm=arm, seed=seed, successes={tag: (k, 20)}) for seed, k in enumerate(successes)]


def test_the_interval_is_students() -> None:
    found = mean([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    assert found.seeds == 3
    assert found.high - found.value == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-5)
    assert mean([0.4]).low == -math.inf


@pytest.mark.parametrize(
    ("more", "less", "finding"),
    [
        ((15, 16, 14), (5, 5, 6), "reproduces"),
        ((5, 5, 6), (15, 16, 14), "contradicts"),
        ((15, 2, 10), (9, 10, 8), "undecided"),
        ((15,), (5,), "undecided"),
        ((), (5, 5), "not measured"),
    ],
)
def test_a_finding_needs_an_interval_on_one_side(more: tuple[int, ...], less: tuple[int, ...], finding: str) -> None:
    assert judge(CLAIM, by_arm(results("more", *more) + results("less", *less))).finding == finding


def test_only_equal_seeds_and_common_robots_are_compared() -> None:
    more = [Result(arm="more", seed=seed, successes={"scout": (20, 20), "car": (0, 20)}) for seed in (1, 2, 3)]
    judged = judge(CLAIM, by_arm(more + results("less", 10, 10, 10)))
    assert judged.difference is not None
    assert (judged.difference.value, judged.difference.seeds) == (0.5, 2)


def test_the_generalist_is_measured_by_its_specialists() -> None:
    base = [Result(arm="base", seed=seed, successes={"scout": (9, 20), "car": (9, 20)}) for seed in range(3)]
    special = results("specialist_scout", 10, 10, 10) + results("specialist_car", 10, 10, 10, tag="car")
    share = generalist_share(by_arm(base + special), ["car", "scout"])
    assert share is not None
    assert share.value == pytest.approx(0.9)
    assert generalist_share(by_arm(base), ["car", "scout"]) is None


def test_the_report_holds_every_arm_and_every_claim() -> None:
    text = markdown(results("more", 15, 16, 14) + results("less", 5, 5, 6), [CLAIM], ["car", "scout"])
    assert "| more | 3 |  | 75 [63, 87] |" in text
    assert "| more is more | 48 [" in text
    assert "| 3 | reproduces |" in text
