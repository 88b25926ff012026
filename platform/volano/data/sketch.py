"""What is known of one episode's numbers without its rows: enough for the statistics of any version that holds it.

A sketch is a function of the accepted content and its contract. Sketches add up without rounding: whole numbers for
sums and counts, and the smallest and largest value. The gate makes it of what it has decoded anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import Bins
from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.exact_sums import exact_sums
from volano.data.finding import Finding
from volano.data.steps import Steps, read_steps
from volano.data.validate_video import read_video
from volano.embodiment.contract import Channel, Embodiment
from volano.errors import Code, DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorSketch:
    """State or action: C channels over an episode's rows."""

    totals: tuple[int, ...]
    """Sum of each channel, in the units of `exact_sums`."""
    squares: tuple[int, ...]
    low: tuple[float, ...]
    """Smallest value of each channel, in its physical unit; a float32's."""
    high: tuple[float, ...]
    histogram: NDArray[np.int64]
    """Rows in each of the contract's bins, (C, BINS + 2)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeSketch:
    """One accepted episode."""

    episodes: ClassVar[int] = 1
    content_id: str
    embodiment: str
    """Fingerprint of its contract."""
    rows: int
    state: VectorSketch
    action: VectorSketch
    cameras: dict[str, NDArray[np.int64]]
    """Per camera, how often each of the 256 values occurs in each colour of the keyframes: `volano.data.levels`."""


def sketch_episode(folder: Path, manifest: Manifest, embodiment: Embodiment) -> EpisodeSketch:
    """The sketch of an accepted bundle in a folder, which is decoded for it; raises DataError for one the gate would
    not accept."""
    steps = read_steps(folder / STEPS_FILE, embodiment, frames=manifest.frames)
    levels = {}
    for camera in embodiment.cameras:
        found = read_video(folder / video_file(camera.name), camera, frames=manifest.frames)
        if isinstance(found, Finding):
            raise DataError(found.code, found.evidence, "ingest the upload again")
        levels[camera.name] = found.levels
    return sketch_of(manifest, embodiment, steps, levels)


def sketch_of(
    manifest: Manifest, embodiment: Embodiment, steps: Steps, levels: Mapping[str, NDArray[np.int64]]
) -> EpisodeSketch:
    """The sketch of an episode with these ticks and, per camera, these levels."""
    return EpisodeSketch(
        content_id=manifest.content_id,
        embodiment=embodiment.fingerprint,
        rows=manifest.frames,
        state=sketch_rows(steps.state, embodiment.state),
        action=sketch_rows(steps.action, embodiment.action),
        cameras=dict(levels),
    )


def sketch_rows(values: NDArray[np.float32], channels: Sequence[Channel]) -> VectorSketch:
    """The sketch of (N, C) values, N > 0; raises DataError(E-DATA-003) for numbers that are not finite."""
    if not np.isfinite(values).all():
        raise DataError(
            Code.DATA_NOT_FINITE, "statistics over numbers that are not finite", "leave out quarantined episodes"
        )
    sums = [exact_sums(column) for column in values.T]
    return VectorSketch(
        totals=tuple(total for total, _ in sums),
        squares=tuple(squares for _, squares in sums),
        low=tuple((values.min(axis=0) + 0.0).tolist()),  # never -0.0, which is as small as 0.0
        high=tuple((values.max(axis=0) + 0.0).tolist()),
        histogram=Bins.of(channels).count(values),
    )
