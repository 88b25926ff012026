"""Sketches of one embodiment's episodes added up, each as often as its weight says.

All is whole numbers and limits, so nothing is rounded and the order does not matter. There is no taking away: a
smallest value cannot be taken back. Instead, what remains is added up.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import BINS
from volano.data.sketch import EpisodeSketch, VectorSketch
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

Whole = NDArray[Any]
"""Python's integers in an array: they have no largest."""


def whole_weights(weights: Sequence[float]) -> tuple[list[int], int]:
    """Weights as whole numbers of one fraction, exactly, and how many of these make one. Raises DataError(E-DATA-013)
    for a weight that is not a positive number."""
    if not all(0 < weight < math.inf for weight in weights):
        raise DataError(Code.DATA_VERSION, "a weight is not a positive number", "give each episode a weight above 0")
    ratios = [float(weight).as_integer_ratio() for weight in weights]
    parts = max((denominator for _, denominator in ratios), default=1)  # each is a power of two
    return [numerator * (parts // denominator) for numerator, denominator in ratios], parts


class MergedVector:
    """Added up: the state or the action."""

    def __init__(self, channels: int) -> None:
        self.totals = [0] * channels
        self.squares = [0] * channels
        self.low = [math.inf] * channels
        self.high = [-math.inf] * channels
        self.histogram: Whole = np.zeros((channels, BINS + 2), np.object_)

    def add(self, sketch: VectorSketch, times: int) -> None:
        """Count an episode's rows so many times."""
        for channel in range(len(self.totals)):
            self.totals[channel] += times * sketch.totals[channel]
            self.squares[channel] += times * sketch.squares[channel]
            self.low[channel] = min(self.low[channel], sketch.low[channel])
            self.high[channel] = max(self.high[channel], sketch.high[channel])
        _add(self.histogram, sketch.histogram, times)

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

    def add(self, sketch: EpisodeSketch, times: int) -> None:
        """Count an episode so many times, `times` above 0."""
        self.episodes += 1
        self.rows += sketch.rows
        self.weighted_rows += times * sketch.rows
        self.state.add(sketch.state, times)
        self.action.add(sketch.action, times)
        for name, counts in sketch.cameras.items():
            _add(self.cameras[name], counts, times)


def _add(sums: Whole, counts: NDArray[np.int64], times: int) -> None:
    where = np.nonzero(counts)
    sums[where] += counts[where].astype(np.object_) * times
