"""What a robot goes on executing while its next chunk is made, and how long that may take. Pure NumPy.

A chunk of H rows made from the observation of tick t commands tick t + i by row i. It arrives d ticks later, and the
next one is asked for s ticks after this one was. For every tick to have a row, and for one question at a time:
d <= s <= H - d. The H - s rows that are left of the old chunk are the prefix; its first d are executed whatever comes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import compose, differences

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefix:
    """The rest of the chunk under way, as the policy of the next one sees it."""

    actions: FloatArray
    """Shape (rows, channels), at least one row, in the contract's frame: a chunk's first rows, made at this tick."""
    delay: int
    """Leading rows that are executed before the next chunk can arrive; at most all of them."""


def longest_delay(robot: Embodiment) -> int:
    """Ticks that an answer may take at most: d <= H - d."""
    return robot.horizon // 2


def fits(robot: Embodiment, rows: int, delay: int) -> bool:
    """Whether so many rows may be left where an answer takes `delay` ticks: d <= s <= H - d of s = H - rows."""
    return 0 <= delay <= rows <= robot.horizon - delay and rows > 0


def stride(robot: Embodiment, delay: int) -> int:
    """Ticks from one question to the next: the contract's `execute`, or what the delay makes of it."""
    return min(max(robot.execute, delay), robot.horizon - delay)


def to_steps(robot: Embodiment, chunk: NDArray[np.floating]) -> FloatArray:
    """A chunk's rows (rows, channels) as each tick executes them: of a path of poses, the motions between."""
    return (differences(chunk) if robot.action_frame == "anchored_se2" else np.asarray(chunk)).astype(np.float32)


def to_chunk(robot: Embodiment, steps: NDArray[np.floating]) -> FloatArray:
    """The inverse of `to_steps`: rows in the frame of the tick that executes the first of them."""
    return (compose(steps) if robot.action_frame == "anchored_se2" else np.asarray(steps)).astype(np.float32)
