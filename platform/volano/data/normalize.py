"""Statistics of state and action values: exact, over all rows at once, in float64.

The quantiles are those of the data, not means of per-episode quantiles. Which rows go in (for actions: as the
policy sees them) is the model codec's choice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, DataError

_DEGENERATE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The 1 % and 99 % quantile of each channel, (C,) each, with q01 < q99 always."""

    q01: NDArray[np.float64]
    q99: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Moments and range of each channel, (C,) each; the standard deviation is the population's."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: int
    """Rows that went in."""


def quantiles(values: NDArray[np.floating]) -> Quantiles:
    """Exact quantiles of (N, C) values; a channel that never moves is widened by 1 to both sides.
    Raises DataError for no rows or numbers that are not finite."""
    low, high = np.quantile(_checked(values), [0.01, 0.99], axis=0)
    still = high - low < _DEGENERATE
    return Quantiles(q01=np.where(still, low - 1, low), q99=np.where(still, high + 1, high))


def summarize(values: NDArray[np.floating]) -> Summary:
    """Mean, deviation and range of (N, C) values; raises like `quantiles`."""
    rows = _checked(values)
    return Summary(
        mean=rows.mean(axis=0), std=rows.std(axis=0), low=rows.min(axis=0), high=rows.max(axis=0), count=len(rows)
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
