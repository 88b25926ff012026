"""Where in an episode nothing moves: neither state nor action nor picture, and no speed but rest. Pure.

A car that drives on evenly changes neither its speed nor its command, and is not still.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from volano.data.steps import Steps
from volano.data.video_summary import VideoSummary
from volano.embodiment.contract import Embodiment

_AROUND_S = 0.25
"""Seconds before and after a tick within which nothing may move."""
_MOVES = 0.001
"""Share of its range by which a state or action may differ within that time: sensors flicker, and an arm that inserts a
peg is slow."""
_RESTS = 0.01
"""Share of its range by which a speed may differ from rest."""
_LEVELS = 4.0
"""Brightness levels by which a cell of a thumbnail may differ within that time: the sensor's noise, and the codec's."""


def still_ticks(steps: Steps, pictures: Sequence[VideoSummary], robot: Embodiment) -> NDArray[np.bool_]:
    """Whether nothing moves around each tick, (T,)."""
    around = max(1, math.ceil(_AROUND_S * robot.rate_hz))
    state_span, action_span = ranges(robot)
    still = _spread(steps.state / state_span, around) <= _MOVES
    still &= _spread(steps.action / action_span, around) <= _MOVES
    for camera in pictures:
        still &= _spread(camera.thumbnail.reshape(len(camera.thumbnail), -1), around) <= _LEVELS
    speeds = np.array([channel.unit.endswith("/s") for channel in robot.state])
    still &= (np.abs(steps.state / state_span)[:, speeds] <= _RESTS).all(axis=1)
    per_tick = np.array([channel.unit.endswith("/s") for channel in robot.action]) | (
        robot.action_frame == "anchored_se2"
    )
    away = np.abs((steps.action - np.array(robot.hold)) / action_span)
    still &= (away[:, per_tick] <= _RESTS).all(axis=1)
    return still


def ranges(robot: Embodiment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranges of the state's and the action's channels, in their units."""
    state, action = (np.array([one.high - one.low for one in side]) for side in (robot.state, robot.action))
    return state, action


def _spread(values: NDArray[np.generic], around: int) -> NDArray[np.float64]:
    """The largest difference of any column within `around` rows before and after each row, (T,)."""
    data, size = values.astype(np.float64), 2 * around + 1
    high = maximum_filter1d(data, size, axis=0, mode="nearest")
    low = minimum_filter1d(data, size, axis=0, mode="nearest")
    return np.asarray((high - low).max(axis=1))
