"""The statistics of one embodiment in a dataset version, as a file that travels with the version.

They are a function of the sketches and weights of its episodes, whatever their order and whatever the version came
from: each row counts with its episode's weight. All is exact but the quantiles, which are right to half a bin.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any, Self

import numpy as np

from volano.data.bins import BINS, Bins
from volano.data.exact_sums import mean_and_deviation
from volano.data.lerobot_layout import STATISTICS_FILE
from volano.data.merge import MergedVector, Weighted, Whole
from volano.data.version import DatasetVersion, read_file
from volano.embodiment.contract import Channel
from volano.errors import Code, DataError
from volano.storage.content import canonical_json
from volano.storage.store import ObjectStore

SCHEMA = "volano.statistics.1"
PERCENT = {"q01": 1, "q10": 10, "q50": 50, "q90": 90, "q99": 99}


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """One number of the state or the action, in its physical unit."""

    name: str
    unit: str
    mean: float
    std: float
    """The population's."""
    low: float
    """Smallest value."""
    high: float
    quantiles: dict[str, float]
    """Each the smallest value that so many percent of the weight do not exceed, to `error`."""
    error: float
    """Half a bin. Past the bins, where no limit reaches, a quantile lies between the last bin and `low` or `high`."""
    histogram: tuple[tuple[int, float], ...]
    """Bins that are not empty, see `volano.data.bins`, with the weight of their rows."""


@dataclass(frozen=True, kw_only=True)
class CameraStatistics:
    """Keyframes of one camera: red, green and blue, each within 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class EmbodimentStatistics:
    """One embodiment of a version."""

    embodiment: str
    """Fingerprint of its contract."""
    episodes: int
    rows: int
    weight: float
    """Of all rows, each with its episode's."""
    state: tuple[ChannelStatistics, ...]
    action: tuple[ChannelStatistics, ...]
    cameras: dict[str, CameraStatistics]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        plain = {name: getattr(self, name) for name in ("embodiment", "episodes", "rows", "weight")}
        vectors = {name: [vars(channel) for channel in getattr(self, name)] for name in ("state", "action")}
        cameras = {name: vars(camera) for name, camera in self.cameras.items()}
        return canonical_json({"schema": SCHEMA, **plain, **vectors, "cameras": cameras})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`; raises DataError(E-DATA-013)."""
        try:
            return cls(**_parse(json.loads(data)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            cause = f"not the statistics of a version: {error}"
            raise DataError(Code.DATA_VERSION, cause, "build the version again from its episodes") from error


def describe(drawn: Weighted) -> EmbodimentStatistics:
    """The statistics of episodes that were added up by their weights."""
    merged, parts = drawn.merged, drawn.parts
    robot = merged.embodiment
    return EmbodimentStatistics(
        embodiment=robot.fingerprint,
        episodes=merged.episodes,
        rows=merged.rows,
        weight=merged.weighted_rows / parts,
        state=_vector(merged.state, robot.state, merged.weighted_rows, parts),
        action=_vector(merged.action, robot.action, merged.weighted_rows, parts),
        cameras={name: _camera(levels) for name, levels in merged.cameras.items()},
    )


def load_statistics(store: ObjectStore, version: DatasetVersion) -> dict[str, EmbodimentStatistics]:
    """A committed version's statistics by embodiment tag, verified by its record; raises StorageError(E-STORE-007) for
    other bytes and DataError(E-DATA-013) when there are none."""
    return {
        tag: EmbodimentStatistics.from_bytes(read_file(store, version, f"{tag}/{STATISTICS_FILE}"))
        for tag in version.embodiments
    }


def _vector(
    merged: MergedVector, channels: tuple[Channel, ...], count: int, parts: int
) -> tuple[ChannelStatistics, ...]:
    bins = Bins.of(channels)
    found = []
    for number, channel in enumerate(channels):
        mean, std = mean_and_deviation(count, merged.totals[number], merged.squares[number])
        low, high = merged.low[number], merged.high[number]
        weights = [int(weight) for weight in merged.histogram[number]]
        below = list(accumulate(weights))
        places = {name: bisect_left(below, -(-percent * below[-1] // 100)) for name, percent in PERCENT.items()}
        found.append(
            ChannelStatistics(
                name=channel.name,
                unit=channel.unit,
                mean=mean,
                std=std,
                low=low,
                high=high,
                quantiles={name: bins.middle(number, place, low, high) for name, place in places.items()},
                error=float(bins.width[number]) / 2,
                histogram=tuple((place, weight / parts) for place, weight in enumerate(weights) if weight),
            )
        )
    return tuple(found)


def _camera(levels: Whole) -> CameraStatistics:
    value = np.arange(256)
    count = levels[0].sum()
    means = [Fraction(int((row * value).sum()), int(count) * 255) for row in levels]
    squares = [Fraction(int((row * value * value).sum()), int(count) * 255 * 255) for row in levels]
    red, green, blue = (
        (float(mean), float(square - mean * mean) ** 0.5) for mean, square in zip(means, squares, strict=True)
    )
    return CameraStatistics(mean=(red[0], green[0], blue[0]), std=(red[1], green[1], blue[1]))


def _parse(data: Any) -> dict[str, Any]:
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    fields = {name: value for name, value in data.items() if name != "schema"}
    for name in ("state", "action"):
        fields[name] = tuple(_channel(channel) for channel in fields[name])
    fields["cameras"] = {
        name: CameraStatistics(mean=tuple(camera["mean"]), std=tuple(camera["std"]))
        for name, camera in fields["cameras"].items()
    }
    return fields


def _channel(data: dict[str, Any]) -> ChannelStatistics:
    histogram = tuple((int(place), float(weight)) for place, weight in data["histogram"])
    if not all(0 <= place <= BINS + 1 for place, _ in histogram):
        raise ValueError("a bin that there is not")
    return ChannelStatistics(**{**data, "histogram": histogram})
