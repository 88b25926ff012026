"""Intervals and tests against published values, and their coverage and size by enumeration."""

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from volano.evaluate.statistics import compare_paired, paired_interval, wilson


def test_wilson_gives_the_textbook_interval() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 60) == pytest.approx((0.0, 0.0602), abs=1e-4)
    assert wilson(60, 60)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_covers_on_average() -> None:
    n = 50
    intervals = [wilson(k, n) for k in range(n + 1)]
    rates = np.linspace(0.02, 0.98, 49)
    covered = [sum(binom.pmf(k, n, p) for k, (low, high) in enumerate(intervals) if low <= p <= high) for p in rates]
    assert np.mean(covered) > 0.945


def test_paired_test_uses_discordant_pairs_only() -> None:
    baseline = [True] * 10 + [False] * 10
    candidate = [True] * 10 + [True] * 8 + [False] * 2
    result = compare_paired(baseline, candidate, "greater")
    assert (result.gained, result.lost, result.difference) == (8, 0, 0.4)
    assert result.p_value == pytest.approx(0.5**8)
    assert compare_paired(baseline, baseline).p_value == 1.0
    assert compare_paired([], []).p_value == 1.0


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="not pairs"):
        compare_paired([True], [])


def test_the_paired_interval_is_the_published_one() -> None:
    baseline = [True] * 36 + [False] * 12 + [True] * 2
    candidate = [True] * 48 + [False] * 2
    assert paired_interval(baseline, candidate) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    assert paired_interval(candidate, baseline) == pytest.approx((-0.3404, -0.0569), abs=1e-4)
    assert paired_interval([], []) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="not pairs"):
        paired_interval([True], [])


def test_pairs_that_agree_narrow_the_interval() -> None:
    baseline, agreeing, crossed = [True] * 20 + [False] * 20, [True] * 22 + [False] * 18, [False] * 18 + [True] * 22
    low, high = paired_interval(baseline, agreeing)
    wide_low, wide_high = paired_interval(baseline, crossed)
    assert high - low < 0.75 * (wide_high - wide_low)
    assert low < 0.05 < high


def test_the_paired_interval_covers_and_never_falls_with_a_success_more() -> None:
    n, rates = 16, (0.3, 0.3, 0.1, 0.3)  # both, gained, lost, neither: the difference is 0.2
    covered = 0.0
    for both in range(n + 1):
        for gained in range(n + 1 - both):
            for lost in range(n + 1 - both - gained):
                counts = (both, gained, lost, n - both - gained - lost)
                low, high = paired_interval(*_outcomes(*counts))
                covered += float(multinomial.pmf(counts, n, rates)) * (low <= 0.2 <= high)
                if lost:
                    assert paired_interval(*_outcomes(both + 1, gained, lost - 1, counts[3]))[0] >= low - 1e-12
                if counts[3]:
                    assert paired_interval(*_outcomes(both, gained + 1, lost, counts[3] - 1))[0] >= low - 1e-12
    assert covered > 0.94


def _outcomes(both: int, gained: int, lost: int, neither: int) -> tuple[list[bool], list[bool]]:
    baseline = [True] * both + [False] * gained + [True] * lost + [False] * neither
    candidate = [True] * (both + gained) + [False] * (lost + neither)
    return baseline, candidate
