"""Wealth of a gambler who bets against a hypothesis: the one piece of mathematics under every sequential test here.

If each increment x has mean <= 0 under the hypothesis, given what came before it, then for any fixed bet b with
1 + b x >= 0 the product of (1 + b x) is a non-negative supermartingale starting at 1, and so is its average over
bets. By Ville's inequality it *ever* reaches 1 / alpha with probability at most alpha: looking at every step is free.
Nothing else is assumed, neither equal rates in all strata nor rates that stay, nor independence within a block.

Logarithms are kept as whole numbers of 2^-32, so that sums have one value in every order and terms can be taken out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BETS = 24
_UNIT = 2.0**32
_SPREAD = tuple((np.arange(_BETS) + 0.5) / _BETS)
WAGERS = {1.5: 0.125, 2.0: 0.75, 4.0: 0.125}
"""Multiples of the tolerated rate that a wager on events is spread over, with their shares; most of it on a doubling,
which is what a team wants to see soon."""
SHIFTS = {(2.0, 16): 0.5, (4.0, 8): 0.2, (2.0, 1): 0.2, (4.0, 1): 0.1}
"""Wagers on which arm had a block's events, with their shares: how many times the other's rate the candidate's is, and
how many events count at most. Those that count one find events that come many at a time."""

Growth = tuple[int, ...]
"""Log factors, one for each bet, in units of 2^-32."""
NO_GROWTH: Growth = (0,) * _BETS
NO_EVENTS: Growth = (0,) * len(WAGERS)
NO_SHIFTS: Growth = (0,) * len(SHIFTS)


def log_wealth(
    increments: NDArray[np.float64], *, largest_loss: float = 1.0, two_sided: bool = False
) -> NDArray[np.float64]:
    """Logarithm of the wealth after each increment, averaged over evenly spread bets (no tuning, no look-ahead).

    `increments` has shape (..., n), each at least `-largest_loss`, and at most `largest_loss` when `two_sided`, which
    also bets on negative means. The result has the same shape. It depends on the order of the increments only along
    the path: its last value is the same for every order, up to rounding.
    """
    bets = _bets(largest_loss, two_sided=two_sided)
    logs = np.stack([np.cumsum(np.log1p(increments * bet), axis=-1) for bet in bets])
    peak = logs.max(axis=0)
    return np.asarray(peak + np.log(np.exp(logs - peak).mean(axis=0)), dtype=np.float64)


def log_wealth_of_counts(
    values: Sequence[float], counts: Sequence[int], *, largest_loss: float = 1.0, two_sided: bool = False
) -> float:
    """The last value of `log_wealth` for increments of which `counts[k]` are `values[k]`."""
    if not any(counts):
        return 0.0
    factors = _log_factors(tuple(values), largest_loss, two_sided)
    return _log_mean([math.fsum(map(mul, counts, of_one_bet)) for of_one_bet in factors])


def growth(increment: float, largest_loss: float = 1.0) -> Growth:
    """What one increment, at least `-largest_loss`, does to every bet."""
    return tuple(round(_UNIT * math.log1p(increment * bet)) for bet in _bets(largest_loss))


def event_growth(events: int, candidate_events: int, share: float) -> Growth:
    """What a block's events do to wagers that the candidate has more of them: conditional binomial, given their number.

    `share` is the chance that an event is the candidate's if its rate is just tolerated: within (0, 1). Each wager is
    on a rate some times as high. An e-process where events come independently (Poisson); not where one episode brings
    many at once.
    """
    return tuple(
        round(_UNIT * (candidate_events * math.log(ratio) - events * math.log1p(share * (ratio - 1))))
        for ratio in WAGERS
    )


def shift_growth(shift: float, events: int) -> Growth:
    """What a block does to wagers that the candidate has more of its events: `shift`, within [-1, 1], of mean <= 0 by
    the hypothesis, given how many there are, says which arm had them.

    Each wager is on a rate some times as high, and bets what it should if one arm had them all. A bet may depend on
    the number of events, so unlike `event_growth` this holds also where one episode brings many at once.
    """
    odds = [ratio ** min(events, most) for ratio, most in SHIFTS]
    return tuple(round(_UNIT * math.log1p(shift * (one - 1) / (one + 1))) for one in odds)


def log_average(sums: Iterable[int]) -> float:
    """Log e-value of summed growths: the average over bets."""
    return _log_mean([total / _UNIT for total in sums])


def log_average_of_wagers(sums: Iterable[int], wagers: Mapping[Any, float]) -> float:
    """The same of summed growths of `WAGERS` or `SHIFTS`, by their shares."""
    return _log_sum([total / _UNIT + math.log(share) for total, share in zip(sums, wagers.values(), strict=True)])


def log_mean_of(logs: Sequence[float]) -> float:
    """Log of the average of e-values, itself an e-value whatever joins them; 0 of none."""
    return _log_mean(logs) if logs else 0.0


def tripped(evidence: Sequence[tuple[str, float, float]]) -> tuple[str, ...]:
    """Which of many claims (name, log e-value, alpha) are believed together: e-BH, weighted by the alphas.

    The most of them, k, each of whose e-values times its alpha is at least 1 / k. One alone needs 1 / alpha; the
    expected share of false ones is at most the sum of the alphas, however the claims hang together.
    """
    ordered = sorted(evidence, key=lambda one: (-(one[1] + math.log(one[2])), one[0]))
    scores = [log_e + math.log(alpha) for _, log_e, alpha in ordered]
    most = max((k for k, score in enumerate(scores, start=1) if score >= -math.log(k)), default=0)
    return tuple(name for name, _, _ in ordered[:most])


def mean_interval(n: int, total: float, squares: float, alpha: float) -> tuple[float, float]:
    """Asymptotic confidence sequence of a mean (Waudby-Smith and others, 2024) from number, sum and sum of squares.

    Valid at all times at once for large n; tightest near n = 100. (-inf, inf) below two values.
    """
    if n < 2:
        return -math.inf, math.inf
    mean = total / n
    variance = max(0.0, squares / n - mean * mean)
    rho2 = (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha))) / 100
    half = math.sqrt(variance * 2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha))
    return mean - half, mean + half


@lru_cache(maxsize=256)
def _log_factors(values: tuple[float, ...], largest_loss: float, two_sided: bool) -> tuple[tuple[float, ...], ...]:
    bets = _bets(largest_loss, two_sided=two_sided)
    return tuple(tuple(math.log1p(value * bet) for value in values) for bet in bets)


@lru_cache(maxsize=256)
def _bets(largest_loss: float, *, two_sided: bool = False) -> tuple[float, ...]:
    return tuple(float(2 * point - 1 if two_sided else point) / largest_loss for point in _SPREAD)


def _log_mean(logs: Sequence[float]) -> float:
    return _log_sum(logs) - math.log(len(logs))


def _log_sum(logs: Sequence[float]) -> float:
    peak = max(logs)
    return peak + math.log(math.fsum(math.exp(log - peak) for log in logs))
