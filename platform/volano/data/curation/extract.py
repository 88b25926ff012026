"""From an episode's ticks and the summaries of its videos to its features: the same for the same episode.

Ticks that may be imitated and are not still are looked at; where everything is still, those that may be imitated.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.data.curation.features import OCCUPANCY, SAMPLED_PICTURES, SAMPLED_TICKS, SHARES, Features, imitable
from volano.data.curation.smoothness import spectral_arc_length
from volano.data.curation.stillness import ranges, still_ticks
from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.finding import Finding
from volano.data.spans import spans_of
from volano.data.steps import Steps, read_steps
from volano.data.validate_video import read_video
from volano.data.video_summary import VideoSummary
from volano.embodiment.contract import Embodiment
from volano.errors import DataError

_BANDWIDTH = 0.1
"""Share of the range by which two ticks differ, root mean square over the channels, before they count as apart."""
_SEED = 2502


def extract_bundle(folder: Path, manifest: Manifest, robot: Embodiment) -> Features:
    """The features of a downloaded bundle, whose files are decoded: in the sandbox's child only. Raises DataError, or
    ValueError like `extract`."""
    steps = read_steps(folder / STEPS_FILE, robot, frames=manifest.frames)
    pictures = list[VideoSummary]()
    for camera in robot.cameras:
        found = read_video(folder / video_file(camera.name), camera, frames=manifest.frames)
        if isinstance(found, Finding):
            raise DataError(found.code, found.evidence, "recall the episode")
        pictures.append(found)
    return extract(manifest, steps, pictures, robot)


def extract(manifest: Manifest, steps: Steps, pictures: Sequence[VideoSummary], robot: Embodiment) -> Features:
    """The features of an episode; raises ValueError when no tick of it may be imitated."""
    usable = imitable(manifest)
    if not usable.any():
        raise ValueError("nothing in the episode may be imitated")
    still = still_ticks(steps, pictures, robot)
    looked_at = usable & ~still if (usable & ~still).any() else usable
    state, action = shares(steps, robot)
    both = np.concatenate((state, action), axis=1)
    ticks = np.flatnonzero(looked_at)
    few, shown = _evenly(ticks, min(SAMPLED_TICKS, len(ticks))), _evenly(ticks, SAMPLED_PICTURES)
    longest = max(spans_of(looked_at), key=lambda span: span[1] - span[0])
    return Features(
        content_id=manifest.content_id,
        occupancy=_occupancy(both[ticks], _steps(both)[ticks]),
        state=state[few],
        action=action[few],
        pictures=np.array([_hashes(camera.thumbnail[shown]) for camera in pictures], np.uint64),
        smoothness=spectral_arc_length(_speed(state[slice(*longest)], robot.rate_hz), robot.rate_hz),
        still=spans_of(still),
    )


def shares(steps: Steps, robot: Embodiment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """States and actions as shares of their channels' ranges, (T, channels) each; what a person let in from far beyond
    its limits is cut off."""
    state_span, action_span = ranges(robot)
    state = (steps.state - np.array([channel.low for channel in robot.state])) / state_span
    action = (steps.action - np.array([channel.low for channel in robot.action])) / action_span
    return np.clip(state, *SHARES), np.clip(action, *SHARES)


def _steps(ticks: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far (T, channels) ticks go in half the way before and after each, (T,)."""
    way = np.linalg.norm(np.diff(ticks, axis=0), axis=1) / 2
    return np.asarray(np.append(way, 0) + np.append(0, way))


def _occupancy(ticks: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of random Fourier features of (n, channels) ticks, scaled to length 1; by the way that each goes, so
    that neither pauses nor speed count. The legacy generator is taken because its numbers never change."""
    channels = ticks.shape[1]
    random = np.random.RandomState(_SEED)
    directions = random.standard_normal((channels, OCCUPANCY // 2)) / (_BANDWIDTH * np.sqrt(channels))
    turned = ticks @ directions
    found = np.concatenate((np.cos(turned), np.sin(turned)), axis=1)
    mean = np.average(found, axis=0, weights=weights if weights.any() else None)
    return np.asarray(mean / np.linalg.norm(mean))


def _evenly(ticks: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    return np.asarray(ticks[np.linspace(0, len(ticks) - 1, number).round().astype(np.int64)])


def _hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """One bit for each cell of (m, rows, columns) thumbnails: whether it is brighter than its right neighbour, the last
    column's being the first. At most 64 cells."""
    brighter = thumbnails.astype(np.int16) > np.roll(thumbnails, -1, axis=2).astype(np.int16)
    bits = brighter.reshape(len(thumbnails), -1).astype(np.uint64)
    places = np.arange(bits.shape[1], dtype=np.uint64)
    return np.asarray((bits << places).sum(axis=1, dtype=np.uint64))


def _speed(state: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """How fast all channels together move, in ranges per second, (T - 1,)."""
    return np.asarray(np.linalg.norm(np.diff(state, axis=0), axis=1) * rate_hz)
