"""Intervals and tests against published values, and their coverage and size by enumeration."""

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact, multinomial

from volano.evaluate.statistics import compare_paired, compare_proportions, difference_interval, paired_interval, wilson


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


def test_newcombe_gives_the_published_interval() -> None:
    assert difference_interval((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    low, high = difference_interval((0, 10), (10, 10))
    assert 0.5 < low < high == 1.0


def test_two_proportions_are_tested_with_more_power_than_fisher_and_the_right_direction() -> None:
    better = compare_proportions((7, 20), (14, 20), "greater")
    assert 0.01 < better < 0.05
    assert better < float(fisher_exact([[14, 7], [6, 13]], alternative="greater").pvalue)
    assert compare_proportions((7, 20), (14, 20), "less") > 0.9
    assert compare_proportions((7, 20), (7, 20)) > 0.9


def test_two_proportions_keep_their_size() -> None:
    n, rate = 12, 0.7
    rejected = 0.0
    for a in range(n + 1):
        for b in range(a + 1, n + 1):
            if compare_proportions((a, n), (b, n), "greater") <= 0.05:
                rejected += binom.pmf(a, n, rate) * binom.pmf(b, n, rate)
    assert 0.01 < rejected <= 0.05


def test_samples_without_information_prove_nothing() -> None:
    assert compare_proportions((0, 0), (5, 5)) == 1.0
    assert compare_proportions((5, 5), (9, 9)) == 1.0
    assert compare_proportions((0, 5), (0, 9)) == 1.0


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
    with pytest.raises(ValueError, match="cannot be"):
        compare_proportions((1, 2), (-1, 2))
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
