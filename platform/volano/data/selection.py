"""Exact quantiles of rows that pass by once and are not kept.

Their histogram, known before from sketches, says which bins the quantiles are in; only the different values within
these bins are counted: few, unless a contract's limits are far wider than what its channel does. The result is that of
`numpy.quantile` over all rows at once, bit for bit.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import Bins
from volano.data.merge import Whole


def quantile(count: int, share: float, ranked: Callable[[int], float]) -> float:
    """NumPy's linear quantile of `count` values, where `ranked` tells the value of a rank, the smallest's being 0."""
    place = (count - 1) * share
    lower = math.floor(place)
    pair = [ranked(lower), ranked(min(lower + 1, count - 1))]
    return float(np.quantile(pair, place - lower))


class Selection:
    """Quantiles of C channels."""

    def __init__(self, histogram: Whole, bins: Bins, shares: Sequence[float]) -> None:
        """`histogram` counts, in (C, BINS + 2), the rows that will pass."""
        self._bins = bins
        self._shares = shares
        self._channels = [_Channel([int(count) for count in row], shares) for row in histogram]

    def add(self, values: NDArray[np.float32]) -> None:
        """Let (N, C) rows pass."""
        for channel, column, places in zip(self._channels, values.T, self._bins.place(values).T, strict=True):
            channel.add(column, places)

    def quantiles(self) -> NDArray[np.float64]:
        """Of the rows that were announced, (shares, C), when just these have passed."""
        return np.array([[channel.quantile(share) for channel in self._channels] for share in self._shares])


class _Channel:
    def __init__(self, counts: list[int], shares: Sequence[float]) -> None:
        self._below = list(accumulate(counts, initial=0))
        places = [math.floor((self._below[-1] - 1) * share) for share in shares]
        ranks = {min(rank, self._below[-1] - 1) for place in places for rank in (place, place + 1)}
        self._wanted = sorted({self._bin(rank) for rank in ranks})
        self._found: dict[int, Counter[float]] = {place: Counter() for place in self._wanted}

    def add(self, column: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        for place in self._wanted:
            here = column[places == place]
            if here.size:
                values, counts = np.unique(here, return_counts=True)
                self._found[place].update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def quantile(self, share: float) -> float:
        return quantile(self._below[-1], share, self._ranked)

    def _bin(self, rank: int) -> int:
        return bisect_right(self._below, rank) - 1

    def _ranked(self, rank: int) -> float:
        place = self._bin(rank)
        values = sorted(self._found[place].items())
        ends = list(accumulate(count for _, count in values))
        return values[bisect_right(ends, rank - self._below[place])][0]
