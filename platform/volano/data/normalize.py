"""q01/q99 normalisation (paper, equation 5), computed on the data itself and never on per-episode quantiles."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
_SMALLEST_RANGE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The range of each channel, in its physical unit."""

    low: tuple[float, ...]
    """1 % quantile."""
    high: tuple[float, ...]
    """99 % quantile."""

    def normalize(self, values: FloatArray) -> FloatArray:
        """Values of shape (..., channels) to [-1, 1], clipped."""
        low, span = self._range()
        return np.clip(2 * (values - low) / span - 1, -1, 1).astype(np.float32)

    def denormalize(self, values: FloatArray) -> FloatArray:
        """The inverse of `normalize` for values within [-1, 1]; others are clipped first."""
        low, span = self._range()
        return (low + (np.clip(values, -1, 1) + 1) / 2 * span).astype(np.float32)

    def _range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low = np.array(self.low)
        return low, np.array(self.high) - low

    @classmethod
    def from_json(cls, data: dict[str, list[float]]) -> Self:
        """Inverse of `dataclasses.asdict` through JSON."""
        return cls(low=tuple(data["low"]), high=tuple(data["high"]))


def quantiles(values: FloatArray) -> Quantiles:
    """q01 and q99 of values of shape (n, channels); a channel without range is widened by one on each side."""
    low, high = np.quantile(values.astype(np.float64), (0.01, 0.99), axis=0)
    flat = high - low < _SMALLEST_RANGE
    return Quantiles(
        low=tuple(float(x) for x in np.where(flat, low - 1, low)),
        high=tuple(float(x) for x in np.where(flat, high + 1, high)),
    )
