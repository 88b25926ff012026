"""Where a channel's values are counted: bins of equal width over the limits of its contract, and one beyond each end.

Bins follow from the contract alone, so counts of any episodes of one embodiment can be added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Channel

BINS = 4096
"""Bins within; bin 0 is below them and bin BINS + 1 beyond."""
_ROOM = 1 / 64
"""Share of a channel's range that the bins reach past either limit: sensors overshoot a little."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """The bins of C channels."""

    low: NDArray[np.float64]
    """Lower edge of bin 1, (C,)."""
    width: NDArray[np.float64]
    """(C,)."""

    @classmethod
    def of(cls, channels: Sequence[Channel]) -> Self:
        """The bins of a contract's channels."""
        low = np.array([channel.low for channel in channels], np.float64)
        span = np.array([channel.high for channel in channels], np.float64) - low
        return cls(low=low - _ROOM * span, width=span * ((1 + 2 * _ROOM) / BINS))

    def place(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The bin of each of (N, C) values; a larger value never has a lower bin."""
        steps = np.floor((values.astype(np.float64) - self.low) / self.width)
        return np.clip(steps, -1, BINS).astype(np.int64) + 1

    def count(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """How many of (N, C) values are in each bin, (C, BINS + 2)."""
        return np.stack([np.bincount(column, minlength=BINS + 2) for column in self.place(values).T])

    def middle(self, channel: int, place: int, low: float, high: float) -> float:
        """The middle of a bin of one channel, all of whose values are within [low, high]."""
        first, width = float(self.low[channel]), float(self.width[channel])
        lower = first + (place - 1) * width if place else low
        upper = first + place * width if place <= BINS else high
        return (min(max(lower, low), high) + min(max(upper, low), high)) / 2
