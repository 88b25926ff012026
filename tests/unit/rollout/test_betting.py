"""The wealth process: its exact expectation, its errors under continuous looks, and its power."""

import math
from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import pytest

from volano.rollout.betting import SHIFTS, log_average_of_wagers, log_wealth, shift_growth

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


def _wealth_of_shift(shift: float, events: int) -> float:
    return math.exp(log_average_of_wagers(shift_growth(shift, events), SHIFTS))


@pytest.mark.parametrize("events", [1, 2, 3, 8, 40])
def test_expected_wealth_is_one_whether_events_come_one_by_one_or_all_at_once(events: int) -> None:
    alone = [
        math.comb(events, k) / 2**events * _wealth_of_shift((2 * k - events) / events, events)
        for k in range(events + 1)
    ]
    assert sum(alone) == pytest.approx(1.0)
    assert (_wealth_of_shift(1.0, events) + _wealth_of_shift(-1.0, events)) / 2 == pytest.approx(1.0)


def _looks(current: Sequence[int], candidate: Sequence[int]) -> int:
    """Pairs until the wagers on interventions reach 200; 1,000 when they do not."""
    sums = np.zeros(len(SHIFTS), np.int64)
    for number, (a, b) in enumerate(zip(current, candidate, strict=True), start=1):
        if a + b:
            sums += np.array(shift_growth((b - a) / (a + b), a + b))
        if log_average_of_wagers(sums.tolist(), SHIFTS) >= math.log(200):
            return number
    return 1000


def test_twice_as_many_events_are_seen_within_forty_pairs_and_equal_ones_rarely_mistaken() -> None:
    rng = np.random.default_rng(10)

    def looks(a: float, b: float, at_once: int = 1) -> list[int]:
        drawn = [rng.poisson(mean / at_once, (200, 120)) * at_once for mean in (a, b)]
        return [_looks(first, second) for first, second in zip(*(one.tolist() for one in drawn), strict=True)]

    assert np.median(looks(1.0, 2.0)) <= 40
    assert np.median(looks(2.0, 8.0, 10)) <= 60
    for at_once in (1, 5):
        assert sum(found < 1000 for found in looks(1.0, 1.0, at_once)) <= 4
