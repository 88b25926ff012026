"""What is said about a gateway's speed follows from the samples."""

import math

import numpy as np
import pytest

from volano.embodiment.shipped import SHIPPED
from volano.inference.bench import PHASES, Measured, quantile, synthetic, verdict
from volano.inference.session import PROMPT, STATE, check_observation, image_key


@pytest.mark.parametrize("tag", sorted(SHIPPED))
def test_the_synthetic_robot_keeps_to_its_contract(tag: str) -> None:
    seen = synthetic(SHIPPED[tag], np.random.default_rng(0))
    images = {image_key(name): image for name, image in seen.images.items()}
    check_observation(SHIPPED[tag], {**images, STATE: seen.state, PROMPT: "go"})


def test_a_quantile_is_bounded_only_by_enough_answers() -> None:
    few = quantile([float(number) for number in range(100)], 0.99)
    assert few.value == pytest.approx(98.01)
    assert (few.low, few.high) == (97.0, math.inf)
    many = quantile([float(number) for number in range(10_000)], 0.99)
    assert many.low < many.value < many.high < 10_000
    one = quantile([5.0], 0.5)
    assert (one.value, one.low, one.high) == (5.0, 5.0, math.inf)


def test_the_interval_holds_the_quantile_nineteen_times_in_twenty() -> None:
    random, hit = np.random.default_rng(0), 0
    for _ in range(400):
        found = quantile([float(value) for value in random.random(200)], 0.5)
        hit += found.low <= 0.5 <= found.high
    assert 0.93 <= hit / 400 <= 0.99


def measured(**seconds: float) -> Measured:
    phases = {name: [seconds.get(name, 0.001)] * 10 for name in PHASES}
    return Measured(phases={**phases, "answer": [sum(one[0] for one in phases.values())] * 10}, problems={})


@pytest.mark.parametrize("phase", PHASES)
def test_what_takes_longest_is_what_limits(phase: str) -> None:
    [said, _] = verdict(SHIPPED["sawyer"], measured(**{phase: 0.02}))
    assert said.startswith(f"most of an answer's time is {phase}, 80%")


def test_whether_it_is_enough_depends_on_the_robot() -> None:
    robot = SHIPPED["sawyer"]
    bridged = robot.horizon / 2 / robot.rate_hz
    assert "can use it" in verdict(robot, measured(policy=bridged / 2))[1]
    assert "fall back" in verdict(robot, measured(policy=bridged * 2))[1]
