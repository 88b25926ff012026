"""The statistics of a LeRobot dataset, gathered episode by episode and exact over all rows.

Images are counted, not kept: how often each byte value occurs in the keyframes is all that their statistics need.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import video_file
from volano.data.lerobot_layout import CAMERA_PREFIX
from volano.data.lerobot_video import keyframes
from volano.data.normalize import summarize
from volano.data.steps import Steps
from volano.embodiment.contract import Embodiment

_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the statistics are computed from."""

    fps: int
    histograms: dict[str, NDArray[np.int64]]
    """Per camera, how often each of the 256 values occurs in each colour of the keyframes, (3, 256)."""
    state: list[NDArray[np.float32]] = field(default_factory=list)
    action: list[NDArray[np.float32]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, embodiment: Embodiment) -> Self:
        """Nothing gathered yet."""
        histograms = {camera.name: np.zeros((3, 256), np.int64) for camera in embodiment.cameras}
        return cls(fps=int(embodiment.rate_hz), histograms=histograms)

    def add(self, folder: Path, steps: Steps, task: int) -> None:
        """Take in one episode: its ticks, and the keyframes of the videos in its bundle's folder."""
        self.state.append(steps.state)
        self.action.append(steps.action)
        self.lengths.append(len(steps.frame_index))
        self.tasks.append(task)
        for name, histogram in self.histograms.items():
            for image in keyframes(folder / video_file(name)):
                for colour in range(3):
                    histogram[colour] += np.bincount(image[..., colour].reshape(-1), minlength=256)

    def join(self, other: "Gathered") -> None:
        """Take in what another one gathered, behind one's own."""
        self.state.extend(other.state)
        self.action.extend(other.action)
        self.lengths.extend(other.lengths)
        self.tasks.extend(other.tasks)
        for name, histogram in self.histograms.items():
            histogram += other.histograms[name]

    def describe(self) -> dict[str, Any]:
        """The content of meta/stats.json."""
        columns = {"observation.state": np.concatenate(self.state), "action": np.concatenate(self.action)}
        images = {CAMERA_PREFIX + name: image_statistics(histogram) for name, histogram in self.histograms.items()}
        return statistics(columns, self.lengths, self.tasks, fps=self.fps) | images


def statistics(
    columns: dict[str, NDArray[np.float32]], lengths: Sequence[int], tasks: Sequence[int], *, fps: int
) -> dict[str, Any]:
    """meta/stats.json without the images, from all rows at once; columns are (N, channels)."""
    per_frame = np.concatenate([np.arange(length) for length in lengths])
    counters = {
        "timestamp": per_frame / fps,
        "frame_index": per_frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(len(per_frame)),
        "task_index": np.repeat(np.asarray(tasks), lengths),
    }
    described = {name: _describe(values) for name, values in columns.items()}
    return described | {name: _describe(values.reshape(-1, 1).astype(np.float64)) for name, values in counters.items()}


def _describe(values: NDArray[np.floating]) -> dict[str, Any]:
    summary = summarize(values)
    found = {"mean": summary.mean, "std": summary.std, "min": summary.low, "max": summary.high}
    for share, row in zip(_QUANTILES, np.quantile(values.astype(np.float64), _QUANTILES, axis=0), strict=True):
        found[_quantile_name(share)] = row
    return {**{name: value.tolist() for name, value in found.items()}, "count": [summary.count]}


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
    for quantile in _QUANTILES:
        found[_quantile_name(quantile)] = levels[(below >= quantile * count[:, None]).argmax(axis=1)]
    return {**{name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}, "count": [int(count[0])]}


def _quantile_name(share: float) -> str:
    return f"q{round(share * 100):02d}"
