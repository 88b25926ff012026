"""Statistics of state and action values: exact, over all rows at once, in float64.

The quantiles are those of the data, not means of per-episode quantiles. Which rows go in (for actions: as the
policy sees them) is the model codec's choice. Normalisation is the paper's equation 5.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, DataError

_DEGENERATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The 1 % and 99 % quantile of each channel, in its physical unit, with q01 < q99 always."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]

    def normalize(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values of shape (..., channels) to [-1, 1], clipped."""
        low, span = self._range()
        scaled: NDArray[np.float32] = np.clip(2 * (values - low) / span - 1, -1, 1).astype(np.float32)
        return scaled

    def denormalize(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """The inverse of `normalize` for values within [-1, 1]; others are clipped first."""
        low, span = self._range()
        physical: NDArray[np.float32] = (low + (np.clip(values, -1, 1) + 1) / 2 * span).astype(np.float32)
        return physical

    def _range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low = np.array(self.q01)
        return low, np.array(self.q99) - low

    @classmethod
    def from_json(cls, data: dict[str, list[float]]) -> Self:
        """Inverse of `dataclasses.asdict` through JSON; raises ValueError when a range is none."""
        low, high = tuple(map(float, data["q01"])), tuple(map(float, data["q99"]))
        if len(low) != len(high) or not all(
            -math.inf < q01 < q99 < math.inf for q01, q99 in zip(low, high, strict=True)
        ):
            raise ValueError("a channel's quantiles are not two rising numbers")
        return cls(q01=low, q99=high)


def quantiles(values: NDArray[np.floating]) -> Quantiles:
    """Exact quantiles of (N, C) values, spanned as `spanning` does. Raises DataError for no rows or numbers that are
    not finite."""
    low, high = np.quantile(_checked(values), [0.01, 0.99], axis=0)
    return spanning(low, high)


def spanning(low: NDArray[np.float64], high: NDArray[np.float64]) -> Quantiles:
    """From q01 and q99 of each channel, (C,) each: one that never moves is widened by 1 to both sides."""
    still = high - low < _DEGENERATE
    return Quantiles(
        q01=tuple(float(value) for value in np.where(still, low - 1, low)),
        q99=tuple(float(value) for value in np.where(still, high + 1, high)),
    )


def _checked(values: NDArray[np.floating]) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or len(rows) == 0:
        raise DataError(
            Code.DATA_SCHEMA, f"statistics need (rows, channels), got shape {rows.shape}", "give at least one row"
        )
    if not np.isfinite(rows).all():
        raise DataError(
            Code.DATA_NOT_FINITE, "statistics over numbers that are not finite", "leave out quarantined episodes"
        )
    return rows
