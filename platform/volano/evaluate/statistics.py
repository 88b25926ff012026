"""Intervals and exact tests for success counts: one proportion, and pairs with shared seeds.

For fixed samples that are looked at once: gates and reports. A rollout looks after every episode, so it uses the
e-processes of `volano.rollout.evidence` instead. Everything is a pure function of counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest

Alternative = Literal["two-sided", "greater", "less"]
"""What the candidate's success rate is, compared with the baseline's, if the null hypothesis is false."""
_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Result of comparing two policies on the same seeds."""

    gained: int
    """Seeds on which only the candidate succeeded."""
    lost: int
    """Seeds on which only the baseline succeeded."""
    difference: float
    """Candidate's rate minus baseline's, within [-1, 1]."""
    p_value: float


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a success rate; (0, 1) when n is 0. Raises ValueError when the counts are impossible."""
    _check(successes, n)
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, _Z95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def compare_paired(
    baseline: Sequence[bool], candidate: Sequence[bool], alternative: Alternative = "two-sided"
) -> PairedTest:
    """Exact McNemar test of two policies run on the same seeds, in the same order.

    Given that a pair is discordant, either policy is equally likely to be the one that succeeded under the null
    hypothesis; concordant pairs carry no information. Raises ValueError when the lengths differ.
    """
    if len(baseline) != len(candidate):
        raise ValueError(f"{len(baseline)} baseline and {len(candidate)} candidate outcomes are not pairs")
    pairs = list(zip(baseline, candidate, strict=True))
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    discordant = gained + lost
    p_value = float(binomtest(gained, discordant, 0.5, alternative=alternative).pvalue) if discordant else 1.0
    difference = (gained - lost) / len(pairs) if pairs else 0.0
    return PairedTest(gained=gained, lost=lost, difference=difference, p_value=p_value)


def paired_interval(baseline: Sequence[bool], candidate: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of candidate minus baseline on the same seeds, in the same order: Newcombe's hybrid score for pairs
    (method 10), where the correlation of the pairs narrows the interval. (-1, 1) without pairs. Raises ValueError when
    the lengths differ.
    """
    if len(baseline) != len(candidate):
        raise ValueError(f"{len(baseline)} baseline and {len(candidate)} candidate outcomes are not pairs")
    n = len(baseline)
    if n == 0:
        return -1.0, 1.0
    a, b = sum(baseline), sum(candidate)
    both = sum(before and after for before, after in zip(baseline, candidate, strict=True))
    (low_a, high_a), (low_b, high_b) = wilson(a, n), wilson(b, n)
    rate_a, rate_b = a / n, b / n
    correlation = _correlation(both, b - both, a - both, n - a - b + both)
    difference = rate_b - rate_a
    return (
        max(-1.0, difference - _side(rate_b - low_b, high_a - rate_a, correlation)),
        min(1.0, difference + _side(high_b - rate_b, rate_a - low_a, correlation)),
    )


def _correlation(both: int, gained: int, lost: int, neither: int) -> float:
    """Of a 2 x 2 table of pairs; a positive one is corrected for continuity."""
    scale = math.sqrt((both + gained) * (lost + neither) * (both + lost) * (gained + neither))
    cross: float = both * neither - gained * lost
    if cross > 0:
        cross = max(cross - (both + gained + lost + neither) / 2, 0)
    return cross / scale if scale else 0.0


def _side(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def _check(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} attempts cannot be")
