"""Sketches of one embodiment's episodes added up, each as often as its weight says.

All is whole numbers and limits, so nothing is rounded and the order does not matter. There is no taking away: a
smallest value cannot be taken back. Instead, what remains is added up.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import BINS
from volano.data.sketch import EpisodeSketch, VectorSketch
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

Whole = NDArray[Any]
"""Python's integers in an array: they have no largest."""


class MergedVector:
    """Added up: the state or the action."""

    def __init__(self, channels: int) -> None:
        self.totals = [0] * channels
        self.squares = [0] * channels
        self.low = [math.inf] * channels
        self.high = [-math.inf] * channels
        self.histogram: Whole = np.zeros((channels, BINS + 2), np.object_)

    def add(self, rows: "VectorSketch | MergedVector", times: int) -> None:
        """Count rows, themselves counted once each, so many times."""
        for channel in range(len(self.totals)):
            self.totals[channel] += times * rows.totals[channel]
            self.squares[channel] += times * rows.squares[channel]
            self.low[channel] = min(self.low[channel], rows.low[channel])
            self.high[channel] = max(self.high[channel], rows.high[channel])
        _add(self.histogram, rows.histogram, times)

    def scale(self, times: int) -> None:
        """Count everything that is in it so many times."""
        self.totals = [times * total for total in self.totals]
        self.squares = [times * square for square in self.squares]
        self.histogram *= times

    def equals(self, other: "MergedVector") -> bool:
        """Whether both say the same of their rows."""
        mine, theirs = ((one.totals, one.squares, one.low, one.high, one.histogram.tolist()) for one in (self, other))
        return mine == theirs


class Merged:
    """Added up: the episodes of one embodiment."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.episodes = 0
        self.rows = 0
        self.weighted_rows = 0
        self.state = MergedVector(len(embodiment.state))
        self.action = MergedVector(len(embodiment.action))
        self.cameras: dict[str, Whole] = {camera.name: np.zeros((3, 256), np.object_) for camera in embodiment.cameras}

    def add(self, some: "EpisodeSketch | Merged", times: int) -> None:
        """Count an episode, or several that were added up once each, so many times, `times` above 0."""
        self.episodes += some.episodes
        self.rows += some.rows
        self.weighted_rows += times * some.rows
        self.state.add(some.state, times)
        self.action.add(some.action, times)
        for name, counts in some.cameras.items():
            _add(self.cameras[name], counts, times)

    def scale(self, times: int) -> None:
        """Count every row that is in it so many times, above 0."""
        self.weighted_rows *= times
        self.state.scale(times)
        self.action.scale(times)
        for counts in self.cameras.values():
            counts *= times


class Weighted:
    """Episodes added up by weights that become known one after another: as whole numbers of a fraction of 1, which
    becomes finer where a weight asks for it."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.merged = Merged(embodiment)
        self.parts = 1
        """So many make a weight of 1: a power of two, as of every float."""

    def add(self, some: EpisodeSketch | Merged, weight: float) -> None:
        """Count an episode, or several of one weight that were added up once each. Raises DataError(E-DATA-013) for a
        weight that is not a positive number."""
        if not 0 < weight < math.inf:
            raise DataError(
                Code.DATA_VERSION, "a weight is not a positive number", "give each episode a weight above 0"
            )
        numerator, denominator = float(weight).as_integer_ratio()
        if denominator > self.parts:
            self.merged.scale(denominator // self.parts)
            self.parts = denominator
        self.merged.add(some, numerator * (self.parts // denominator))


def _add(sums: Whole, counts: NDArray[Any], times: int) -> None:
    where = np.nonzero(counts)
    sums[where] += counts[where].astype(np.object_) * times
