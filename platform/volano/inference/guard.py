"""What stands between a policy's answer and a robot's motors: pure checks, on the robot and in the gateway alike.

A chunk has the contract's shape, holds numbers, stays within the limits, and goes on from what is executed without a
jump; what is executed is younger than the robot's patience. Anything else is refused, and the robot keeps still by
`fallback_chunk`, or comes to rest tick by tick by `fallback_step`.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import compose, relative
from volano.embodiment.prefix import to_chunk
from volano.errors import Code, WireError

FloatArray = NDArray[np.float32]
Rest = Literal["hold", "decelerate", "last_safe"]
_TRAVERSE_S = 0.5
"""A channel takes so long for its whole range, unless its policy moves it faster within a chunk as well."""
_AT_LIMIT = 1e-3
"""Share of its range by which a channel is still at its limit: poses are rounded to float32."""
_STANDS_OUT = 2.0
"""A seam may be so many times as rough as the chunks that meet there."""


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
    return within_limits(embodiment, chunk)


def within_limits(embodiment: Embodiment, rows: NDArray[np.floating]) -> FloatArray:
    """Any number of a chunk's first rows, (rows, channels), every tick clipped to the contract's limits."""
    low, high = _limits(embodiment)
    if embodiment.action_frame == "anchored_se2":
        return _clip_anchored(rows, low, high)
    clipped: FloatArray = np.clip(rows, low, high).astype(np.float32)
    return clipped


def check_seam(embodiment: Embodiment, executed: FloatArray, ahead: FloatArray) -> None:
    """Refuse a chunk that does not go on from what was executed: both (rows, channels), as ticks execute them.

    From tick to tick a channel changes by no more than its range in half a second, and neither does the change itself;
    or by no more than twice what the rows on either side do. Raises WireError(E-WIRE-005) naming the channel.
    """
    if not len(executed) or not len(ahead):
        return
    joined, seam = np.concatenate((executed, ahead)).astype(np.float64), len(executed)
    limit = tick_limits(embodiment)
    for order, what in ((1, "jumps"), (2, "jerks")):
        across = np.diff(joined[max(seam - order, 0) : seam + order], order, axis=0)
        inside = [np.diff(side, order, axis=0) for side in (joined[:seam], joined[seam:]) if len(side) > order]
        usual = np.max([np.abs(part).max(axis=0) for part in inside], axis=0) if inside else np.zeros(len(limit))
        if not len(across):
            continue
        found, most = np.abs(across).max(axis=0), np.maximum(limit, _STANDS_OUT * usual)
        if (found > most).any():
            worst = int(np.argmax(found / most))
            raise _refused(
                f"action {embodiment.action[worst].name!r} {what} by {found[worst]:.3g} where chunks meet, "
                f"more than {most[worst]:.3g}"
            )


def tick_limits(embodiment: Embodiment) -> NDArray[np.float64]:
    """The largest change of each channel from one tick to the next that any robot of this contract must bear."""
    low, high = _limits(embodiment)
    return (high - low) * min(1.0, 1 / (embodiment.rate_hz * _TRAVERSE_S))


def is_stale(since: float, now: float, limit_s: float) -> bool:
    """Whether what was observed at `since` is too old at `now` to act on (seconds of one monotonic clock)."""
    return not 0 <= now - since <= limit_s


def fallback_chunk(embodiment: Embodiment) -> FloatArray:
    """The chunk (horizon, channels) that keeps the robot still."""
    rows = np.tile(np.array(embodiment.hold), (embodiment.horizon, 1))
    held = compose(rows) if embodiment.action_frame == "anchored_se2" else rows
    return held.astype(np.float32)


def rest(embodiment: Embodiment) -> tuple[Rest, ...]:
    """How each action channel comes to rest, by what it is.

    `decelerate`: a speed (its unit is per second) or a motion of a path. `last_safe`: a position, which the robot also
    reports under that name and unit; another value would move it. `hold`: anything else, at once.
    """
    reported = {(channel.name, channel.unit) for channel in embodiment.state}
    kinds: list[Rest] = []
    for channel in embodiment.action:
        if embodiment.action_frame == "anchored_se2" or channel.unit.endswith("/s"):
            kinds.append("decelerate")
        else:
            kinds.append("last_safe" if (channel.name, channel.unit) in reported else "hold")
    return tuple(kinds)


def fallback_step(embodiment: Embodiment, last: FloatArray | None) -> FloatArray:
    """What a tick without a valid action executes, (channels,), after `last`; the contract's `hold` after nothing."""
    hold = np.array(embodiment.hold)
    if last is None:
        return hold.astype(np.float32)
    slower = last + np.clip(hold - last, -(limit := tick_limits(embodiment)), limit)
    by_kind = {"hold": hold, "decelerate": slower, "last_safe": last}
    return np.array([by_kind[kind][at] for at, kind in enumerate(rest(embodiment))], np.float32)


def fallback_rows(embodiment: Embodiment, last: FloatArray | None) -> FloatArray:
    """A chunk (horizon, channels) by which the robot comes to rest after a tick that executed `last`, (channels,)."""
    steps: list[FloatArray] = []
    for _ in range(embodiment.horizon):
        last = fallback_step(embodiment, last)
        steps.append(last)
    return to_chunk(embodiment, np.array(steps))


def action_distance(embodiment: Embodiment, one: FloatArray, other: FloatArray) -> float:
    """Root mean square difference of two checked chunks over the rows that are executed, in shares of the channels'
    ranges: 0 is equal, 1 is from limit to limit."""
    low, high = _limits(embodiment)
    difference = (one[: embodiment.execute].astype(np.float64) - other[: embodiment.execute]) / (high - low)
    return float(np.sqrt(np.mean(np.square(difference))))


def clamped_share(embodiment: Embodiment, chunk: FloatArray) -> float:
    """Share of a checked chunk's values that stand at a limit of the contract, as all do that were clipped; over the
    rows that are executed."""
    low, high = _limits(embodiment)
    rows = chunk[: embodiment.execute].astype(np.float64)
    values = _motions(rows) if embodiment.action_frame == "anchored_se2" else rows
    near = _AT_LIMIT * (high - low)
    return float(np.mean((values <= low + near) | (values >= high - near)))


def _motions(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each tick, from poses in the chunk's first frame."""
    before = np.vstack([np.zeros((1, 3)), poses[:-1]])
    return np.array([relative(start, end) for start, end in zip(before, poses, strict=True)])


def _clip_anchored(chunk: NDArray[np.floating], low: NDArray[np.float64], high: NDArray[np.float64]) -> FloatArray:
    """Limits are per tick, rows are poses from the chunk's first frame: clip the motions between them."""
    poses = chunk.astype(np.float64)
    motions = _motions(poses)
    clipped = np.clip(motions, low, high)
    return (poses if np.array_equal(motions, clipped) else compose(clipped)).astype(np.float32)


@lru_cache(maxsize=1024)
def _limits(embodiment: Embodiment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.array([channel.low for channel in embodiment.action])
    high = np.array([channel.high for channel in embodiment.action])
    low.flags.writeable = high.flags.writeable = False
    return low, high


def _refused(cause: str) -> WireError:
    return WireError(Code.WIRE_ACTION, cause, "roll the policy back, or correct its embodiment")
