"""What stands between a policy's answer and a robot's motors: pure checks, on the robot and in the gateway alike.

A chunk has the contract's shape, holds numbers, and stays within the limits; an answer is younger than the robot's
patience. Anything else is refused, and the robot keeps still by `fallback_chunk`.
"""

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import compose, relative
from volano.errors import Code, WireError

FloatArray = NDArray[np.float32]


def check_chunk(embodiment: Embodiment, chunk: object) -> FloatArray:
    """The chunk as float32 (horizon, channels), every tick clipped to the contract's limits.

    Raises WireError(E-WIRE-005) when it is not an array of floats of that shape, or holds NaN or infinity.
    """
    expected = (embodiment.horizon, len(embodiment.action))
    if not isinstance(chunk, np.ndarray) or chunk.dtype.kind != "f":
        raise _refused(f"the actions are {getattr(chunk, 'dtype', type(chunk).__name__)}, not floats")
    if chunk.shape != expected:
        raise _refused(f"the actions have shape {chunk.shape}, the contract's is {expected}")
    if not np.isfinite(chunk).all():
        row, column = np.argwhere(~np.isfinite(chunk))[0]
        raise _refused(f"action {embodiment.action[column].name!r} of row {row} is {chunk[row, column]}")
    low, high = _limits(embodiment)
    if embodiment.action_frame == "anchored_se2":
        return _clip_anchored(chunk, low, high)
    return np.clip(chunk, low, high).astype(np.float32)


def is_stale(since: float, now: float, limit_s: float) -> bool:
    """Whether what was observed at `since` is too old at `now` to act on (seconds of one monotonic clock)."""
    return not 0 <= now - since <= limit_s


def fallback_chunk(embodiment: Embodiment) -> FloatArray:
    """The chunk (horizon, channels) that keeps the robot still."""
    rows = np.tile(np.array(embodiment.hold), (embodiment.horizon, 1))
    held = compose(rows) if embodiment.action_frame == "anchored_se2" else rows
    return held.astype(np.float32)


def action_distance(embodiment: Embodiment, one: FloatArray, other: FloatArray) -> float:
    """Root mean square difference of two checked chunks over the rows that are executed, in shares of the channels'
    ranges: 0 is equal, 1 is from limit to limit."""
    low, high = _limits(embodiment)
    difference = (one[: embodiment.execute].astype(np.float64) - other[: embodiment.execute]) / (high - low)
    return float(np.sqrt(np.mean(np.square(difference))))


def _clip_anchored(chunk: NDArray[np.floating], low: NDArray[np.float64], high: NDArray[np.float64]) -> FloatArray:
    """Limits are per tick, rows are poses from the chunk's first frame: clip the motions between them."""
    poses = chunk.astype(np.float64)
    before = np.vstack([np.zeros((1, 3)), poses[:-1]])
    motions = np.array([relative(start, end) for start, end in zip(before, poses, strict=True)])
    clipped = np.clip(motions, low, high)
    return (poses if np.array_equal(motions, clipped) else compose(clipped)).astype(np.float32)


def _limits(embodiment: Embodiment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.array([channel.low for channel in embodiment.action])
    return low, np.array([channel.high for channel in embodiment.action])


def _refused(cause: str) -> WireError:
    return WireError(Code.WIRE_ACTION, cause, "roll the policy back, or correct its embodiment")
