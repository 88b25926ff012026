"""meta/stats.json of a LeRobot dataset: exact over all rows, each counted once, and no row is kept.

Sums and limits come from the episodes' sketches, and are compared with those of the rows; quantiles are selected while
the rows pass; what the format counts in columns follows from the lengths of the episodes. Images are counted: how often
each byte value occurs in the keyframes is all that their statistics need.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import Bins
from volano.data.exact_sums import mean_and_deviation
from volano.data.lerobot_layout import CAMERA_PREFIX
from volano.data.merge import Merged, MergedVector
from volano.data.selection import Selection, quantile
from volano.data.sketch import sketch_rows
from volano.embodiment.contract import Channel
from volano.errors import Code, StorageError

_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


class Gathered:
    """The statistics of episodes whose sketches were added up, each once, while their rows pass, in pieces."""

    def __init__(self, recorded: Merged) -> None:
        robot = recorded.embodiment
        self._recorded = recorded
        self._state = _Vector(recorded.state, robot.state)
        self._action = _Vector(recorded.action, robot.action)

    def add(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> None:
        """Let rows pass, (N, channels) each."""
        self._state.add(state)
        self._action.add(action)

    def describe(self, lengths: list[int], tasks: list[int]) -> dict[str, Any]:
        """The content of meta/stats.json, for episodes of these lengths and numbers of tasks; raises
        StorageError(E-STORE-007) when the rows that passed are not those of the sketches."""
        recorded = self._recorded
        return {
            "observation.state": self._state.describe(recorded.rows),
            "action": self._action.describe(recorded.rows),
            **counters(lengths, tasks, fps=int(recorded.embodiment.rate_hz)),
            **{
                CAMERA_PREFIX + name: image_statistics(levels.astype(np.int64))
                for name, levels in recorded.cameras.items()
            },
        }


class _Vector:
    """State or action."""

    def __init__(self, recorded: MergedVector, channels: tuple[Channel, ...]) -> None:
        self._recorded = recorded
        self._channels = channels
        self._passed = MergedVector(len(channels))
        self._selection = Selection(recorded.histogram, Bins.of(channels), _QUANTILES)

    def add(self, values: NDArray[np.float32]) -> None:
        self._passed.add(sketch_rows(values, self._channels), 1)
        self._selection.add(values)

    def describe(self, rows: int) -> dict[str, Any]:
        recorded = self._recorded
        if not self._passed.equals(recorded):
            fix = "delete the sketches of these episodes: they are made again"
            raise StorageError(Code.STORE_CORRUPT, "the sketches are not those of the rows", fix)
        moments = [mean_and_deviation(rows, *sums) for sums in zip(recorded.totals, recorded.squares, strict=True)]
        quantiles = zip(_QUANTILES, self._selection.quantiles().tolist(), strict=True)
        return {
            "mean": [mean for mean, _ in moments],
            "std": [std for _, std in moments],
            "min": recorded.low,
            "max": recorded.high,
            **{_quantile_name(share): values for share, values in quantiles},
            "count": [rows],
        }


def counters(lengths: list[int], tasks: list[int], *, fps: int) -> dict[str, Any]:
    """The entries of the columns that only count, for episodes of these lengths and tasks."""
    rows = sum(lengths)
    ticks = np.arange(max(lengths))
    longer = len(lengths) - np.cumsum(np.bincount(lengths, minlength=len(ticks) + 1))[: len(ticks)]
    by_task = np.bincount(tasks, weights=lengths).astype(np.int64)
    position = {"mean": [(rows - 1) / 2], "std": [((rows * rows - 1) / 12) ** 0.5], "min": [0.0], "max": [rows - 1.0]}
    return {
        "timestamp": _counted(ticks / fps, longer),
        "frame_index": _counted(ticks.astype(np.float64), longer),
        "episode_index": _counted(np.arange(len(lengths), dtype=np.float64), np.array(lengths)),
        "index": {**position, **_quantiles(rows, float), "count": [rows]},
        "task_index": _counted(np.arange(len(by_task), dtype=np.float64), by_task),
    }


def _counted(values: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, Any]:
    """A column that holds each of the rising values so many times."""
    present = counts > 0
    values, counts = values[present], counts[present]
    rows = int(counts.sum())
    mean = float(values @ counts) / rows
    ends = np.cumsum(counts)
    return {
        "mean": [mean],
        "std": [float(((values - mean) ** 2 @ counts) / rows) ** 0.5],
        "min": [float(values[0])],
        "max": [float(values[-1])],
        **_quantiles(rows, lambda rank: float(values[np.searchsorted(ends, rank, side="right")])),
        "count": [rows],
    }


def _quantiles(rows: int, ranked: Callable[[int], float]) -> dict[str, list[float]]:
    return {_quantile_name(share): [quantile(rows, share, ranked)] for share in _QUANTILES}


def image_statistics(histogram: NDArray[np.int64]) -> dict[str, Any]:
    """One camera's entry in meta/stats.json from counts of each byte value per colour, (3, 256); values in 0..1."""
    levels = np.arange(256) / 255
    count = histogram.sum(axis=1)
    share = histogram / count[:, None]
    mean = share @ levels
    present = histogram > 0
    found = {
        "mean": mean,
        "std": np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1)),
        "min": levels[present.argmax(axis=1)],
        "max": levels[255 - present[:, ::-1].argmax(axis=1)],
    }
    below = histogram.cumsum(axis=1)
    for quantile_share in _QUANTILES:
        found[_quantile_name(quantile_share)] = levels[(below >= quantile_share * count[:, None]).argmax(axis=1)]
    return {**{name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}, "count": [int(count[0])]}


def _quantile_name(share: float) -> str:
    return f"q{round(share * 100):02d}"
