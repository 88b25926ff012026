"""The wealth process: its exact expectation, its errors under continuous looks, and its power."""

from itertools import permutations, product

import numpy as np
import pytest

from volano.rollout.betting import log_wealth

SUPERIOR = np.log(20.0)


def _gains(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, runs: int, blocks: int) -> np.ndarray:
    """Gains of (runs, blocks) pairs; the rates repeat along the blocks."""
    current = rng.random((runs, blocks)) < np.resize(a, blocks)
    candidate = rng.random((runs, blocks)) < np.resize(b, blocks)
    return candidate.astype(np.float64) - current


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.3])
def test_expected_wealth_is_at_most_one_for_every_pair_of_rates_on_the_border(margin: float) -> None:
    for p, q in product(np.linspace(margin, 1, 8), repeat=2):
        total = 0.0
        for first, second in product((-1.0, 0.0, 1.0), repeat=2):
            chance = _chance(first, p, p - margin) * _chance(second, q, q - margin)
            total += chance * np.exp(log_wealth(np.array([first, second]) + margin)[-1])
        assert total == pytest.approx(1.0)


def _chance(gain: float, a: float, b: float) -> float:
    chances = {1.0: b * (1 - a), -1.0: a * (1 - b)}
    return float(chances.get(gain, 1 - sum(chances.values())))


def test_the_last_value_does_not_depend_on_the_order() -> None:
    finals = {round(float(log_wealth(np.array(order))[-1]), 12) for order in permutations((1.0, 1.0, 0.0, -1.0, -1.0))}
    assert len(finals) == 1


def test_no_evidence_is_no_wealth() -> None:
    assert log_wealth(np.zeros(0)).shape == (0,)
    assert np.allclose(log_wealth(np.zeros(5)), 0.0)


def test_equal_policies_on_unequal_robots_are_rarely_promoted_however_often_one_looks() -> None:
    rng = np.random.default_rng(7)
    wealth = []
    for _ in range(15):
        rates = 1 / (1 + np.exp(-(rng.normal(0.85, 0.8, 10))))
        wealth.append(log_wealth(_gains(rng, rates, rates, 100, 200)).max(axis=1))
    assert 0.0 < np.mean(np.concatenate(wealth) >= SUPERIOR) <= 0.05


def test_drifting_rates_are_no_evidence() -> None:
    """Both policies improve with time, and which arm comes first in a block is a coin: the mean gain stays zero."""
    rng = np.random.default_rng(8)
    rising = np.linspace(0.1, 0.9, 200)
    episodes = rng.random((1500, 200)) < rising
    sign = rng.choice((-1.0, 1.0), (1500, 100))
    gains = sign * (episodes[:, 1::2].astype(np.float64) - episodes[:, ::2])
    assert np.mean(log_wealth(gains).max(axis=1) >= SUPERIOR) <= 0.05


def test_a_clearly_better_candidate_is_seen_within_forty_pairs() -> None:
    rng = np.random.default_rng(9)
    wealth = log_wealth(_gains(rng, np.array([0.3]), np.array([0.7]), 500, 120))
    first = np.where((wealth >= SUPERIOR).any(axis=1), (wealth >= SUPERIOR).argmax(axis=1) + 1, 999)
    assert np.median(first) <= 40


def test_two_sided_wealth_grows_either_way() -> None:
    for sign in (-1.0, 1.0):
        assert log_wealth(np.full(15, sign), two_sided=True)[-1] > np.log(1000)
    assert log_wealth(np.array([1.0, -1.0] * 20), two_sided=True)[-1] < 0
