"""Numbers with their uncertainty: intervals of a rate, and tests of two rates chosen before looking."""

import math
from dataclasses import dataclass

from scipy.stats import barnard_exact, binomtest

_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Successes of n trials with the 95 % Wilson interval."""

    successes: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The observed share; 0 without trials."""
        return self.successes / self.n if self.n else 0.0


def rate(successes: int, n: int) -> Rate:
    """Wilson's score interval: honest near 0 and 1; (0, 1) without trials."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return Rate(successes=0, n=0, low=0.0, high=1.0)
    share = successes / n
    scale = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / scale
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / scale
    return Rate(successes=successes, n=n, low=max(0.0, centre - half), high=min(1.0, centre + half))


def greater(first: Rate, second: Rate) -> float:
    """One-sided p-value that the first rate is higher: Barnard's exact test, more powerful than Fisher's."""
    table = [[first.successes, second.successes], [first.n - first.successes, second.n - second.successes]]
    return float(barnard_exact(table, alternative="greater").pvalue)


def paired_greater(only_first: int, only_second: int) -> float:
    """One-sided exact McNemar p-value on pairs of equal seeds: those that only one of the two solved."""
    pairs = only_first + only_second
    return float(binomtest(only_first, pairs, 0.5, alternative="greater").pvalue) if pairs else 1.0


def difference(first: Rate, second: Rate) -> tuple[float, float]:
    """Newcombe's 95 % interval of first minus second."""
    delta = first.value - second.value
    low = delta - math.hypot(first.value - first.low, second.high - second.value)
    high = delta + math.hypot(first.high - first.value, second.value - second.low)
    return low, high
