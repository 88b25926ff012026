"""The statistics that an export carries, from the rows it holds: exact, in double precision.

Of a column over all rows, of one episode, and of the action chunks that begin at each row, as openpi counts them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volano.data.lerobot_statistics import image_statistics
from volano.data.lerobot_video import colour_levels

_COLUMN = ("mean", "std", "min", "max", "q01", "q99")
_EPISODE = ("mean", "std", "min", "max", "count")


def columns(table: pa.Table) -> dict[str, Any]:
    """Of every column over all rows: mean, std, min, max, q01, q99, each a list of numbers."""
    return {name: _chosen(_described(matrix(table[name])), _COLUMN) for name in table.column_names}


def episode(table: pa.Table, videos: dict[str, Path]) -> dict[str, Any]:
    """Of every column over one episode, and of the keyframes of its videos by feature: mean, std, min, max, count."""
    numbers = {name: _chosen(_described(matrix(table[name])), _EPISODE) for name in table.column_names}
    images = {key: image_statistics(colour_levels(path)) for key, path in videos.items()}
    return numbers | {key: _chosen(described, _EPISODE) for key, described in images.items()}


def chunks(table: pa.Table, lengths: Sequence[int], horizon: int) -> dict[str, Any]:
    """The content of openpi's norm_stats.json: `state` over all rows, `actions` over the chunks of `horizon` rows that
    begin at each of them, in which an episode's last row stands for those behind its end."""
    times = np.concatenate([_times_in_chunks(length, horizon) for length in lengths])
    state = matrix(table["observation.state"])
    return {
        "norm_stats": {
            "state": _weighted(state, np.ones(len(state), np.int64)),
            "actions": _weighted(matrix(table["action"]), times),
        }
    }


def matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of an export's table, (N, channels)."""
    flat = [chunk.flatten() if pa.types.is_nested(chunk.type) else chunk for chunk in column.chunks]
    values = np.concatenate([piece.to_numpy(zero_copy_only=False) for piece in flat])
    return values.astype(np.float64).reshape(len(column), -1)


def _described(values: NDArray[np.float64]) -> dict[str, list[float]]:
    """All that is ever said of a column, from (N, channels); the deviation is the population's."""
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    found = {"mean": values.mean(axis=0), "std": values.std(axis=0), "q01": low, "q99": high}
    found |= {"min": values.min(axis=0), "max": values.max(axis=0), "count": np.array([len(values)])}
    return {name: value.tolist() for name, value in found.items()}


def _times_in_chunks(length: int, horizon: int) -> NDArray[np.int64]:
    """How often each row of an episode stands in its chunks, (length,)."""
    times = np.minimum(np.arange(1, length + 1), horizon)
    times[-1] += length * horizon - times.sum()
    return times


def _weighted(values: NDArray[np.float64], times: NDArray[np.int64]) -> dict[str, list[float]]:
    mean = np.average(values, axis=0, weights=times)
    std = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=times))
    low, high = np.quantile(values, [0.01, 0.99], axis=0, weights=times, method="inverted_cdf")
    found = {"mean": mean, "std": std, "q01": low, "q99": high}
    return {name: value.tolist() for name, value in found.items()}


def _chosen(described: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: described[name] for name in names}
