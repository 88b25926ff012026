"""Whether states and actions can be what this robot measured and did: pure checks over the table of ticks.

What a channel means is known from the contract alone: its unit, its limits, and that a state and an action of the same
name and unit are the measured and the commanded side of one thing. A robot that rests, drives on evenly or pushes
against a limit for a while is none of these defects.
"""

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.steps import Steps
from volano.embodiment.contract import Channel, Embodiment
from volano.errors import Code

_Values = NDArray[np.float32]
_FEWEST_TICKS = 10
"""Below, nothing is said about how an episode moves."""
_WRONG_UNITS = {
    "rad": ("degrees", math.pi / 180),
    "rad/s": ("degrees/s", math.pi / 180),
    "m": ("millimetres", 1e-3),
    "m/s": ("millimetres/s", 1e-3),
}
"""A contract's unit to the unit that is taken for it, and what makes the one of the other."""
_UNIT_SHARE, _UNIT_PEAK = 0.2, 3.0
"""Share of ticks beyond a limit, and how many times the limit the largest is: one wild value is no unit."""
_AT_LIMIT = 0.001
"""Share of the range within which a value is at its limit: what clipping leaves is exactly there."""
_MOST_SATURATED = 0.95
"""Share of ticks with every channel at a limit. Experts hold single channels there for whole episodes, a gripper for
instance, and all together for seconds; all together all the time is a scale that is wrong, and clipped."""
_COMMANDED = 0.25
"""Share of an action's range that is commanded before a robot that does not answer is conspicuous."""
_STUCK_S = 1.0
"""How long a state must stay the same to the bit."""
_SIDE = 0.1
"""Share of an action's range by which it is commanded beyond a state that does not follow, up as well as down."""
_LAG = 4
"""Ticks within which a state shows what was commanded; later actions are not held against it."""
_MOVED = 0.2
"""Share of a state's range that is certainly motion, whatever unit it has."""
_ORDER_TICKS = 20
_FOLLOWS, _IGNORES = 0.95, 0.5
"""Correlations of a state with an action: it is this one's, and it is not that one's."""
_LEAP = 0.3
"""Share of a position's range that nothing moves by within one tick, and back by in the next."""
_POSITIONS = {"m", "rad"}
"""Units of what cannot leap. Speeds can: a bump is one."""
_STUTTER = 0.25
"""Runs of repeated rows over all ticks: a half when each row stands twice, a third when each stands three times."""


def check_units(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """Angles are not in degrees and lengths not in millimetres, as far as they pass their limits by it."""
    for name, values, channels in _tables(steps, embodiment):
        for column, channel in zip(values.T, channels, strict=True):
            other, factor = _WRONG_UNITS.get(channel.unit, ("", 1.0))
            beyond = (column < channel.low) | (column > channel.high)
            peak = float(np.abs(column).max()) / max(abs(channel.low), abs(channel.high))
            fits = bool(((column * factor >= channel.low) & (column * factor <= channel.high)).all())
            if other and fits and peak >= _UNIT_PEAK and beyond.mean() >= _UNIT_SHARE:
                evidence = f"{name} {channel.name} reaches {np.abs(column).max():.4g} {channel.unit}: {other}, it seems"
                return Finding.of(Code.DATA_UNITS, evidence)
    return None


def check_spikes(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """No position leaps away and back within two ticks."""
    for column, channel in zip(steps.state.T, embodiment.state, strict=True):
        if channel.unit not in _POSITIONS or len(column) < 3:
            continue
        leaps = np.diff(column.astype(np.float64))
        if channel.unit == "rad":  # an angle that passes half a turn does not leap
            leaps = (leaps + math.pi) % (2 * math.pi) - math.pi
        away, back = leaps[:-1], leaps[1:]
        spike = (np.minimum(np.abs(away), np.abs(back)) >= _LEAP * (channel.high - channel.low)) & (away * back < 0)
        if spike.any():
            row = int(spike.argmax()) + 1
            return Finding.of(Code.DATA_SPIKE, f"state {channel.name} leaps to {column[row]:.4g} at row {row} and back")
    return None


def check_saturation(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """An expert's actions are not at their limits in all channels all the time."""
    low, span = _limits(embodiment.action)
    share = (steps.action[_by_expert(steps)] - low) / span
    saturated = np.asarray(((share <= _AT_LIMIT) | (share >= 1 - _AT_LIMIT)).all(axis=1))
    if len(low) < 2 or len(saturated) < _FEWEST_TICKS or saturated.mean() < _MOST_SATURATED:
        return None
    return Finding.of(
        Code.DATA_SATURATED,
        f"every action channel is at a limit at {saturated.sum()} of an expert's {len(share)} ticks",
    )


def check_no_motion(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """A robot that is commanded to move reports some motion."""
    commanded = _travel(steps.action, embodiment.action)
    if len(steps.state) < _FEWEST_TICKS or commanded < _COMMANDED or np.ptp(steps.state, axis=0).any():
        return None
    return Finding.of(Code.DATA_NO_MOTION, f"no state changes while actions span {commanded:.0%} of their range")


def check_stuck(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """No state stays the same to the bit while the action of its name is commanded to both sides of it. A gripper that
    holds something, and a robot at a wall, are commanded to one."""
    shortest = max(_FEWEST_TICKS, math.ceil(_STUCK_S * embodiment.rate_hz))
    for state, action in _pairs(embodiment):
        channel = embodiment.action[action]
        side = _SIDE * (channel.high - channel.low)
        for start, end in runs(np.diff(steps.state[:, state]) == 0):
            commanded, value = steps.action[start : max(start, end - _LAG), action], steps.state[start, state]
            if len(commanded) >= shortest and commanded.min() < value - side and commanded.max() > value + side:
                evidence = f"state {channel.name} is {value:.4g} from row {start} to {end}"
                span = f"[{commanded.min():.4g}, {commanded.max():.4g}]"
                return Finding.of(Code.DATA_STUCK_CHANNEL, f"{evidence}, commanded within {span}")
    return None


def check_dead_actions(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """An expert who moves the robot commands something."""
    expert = _by_expert(steps)
    if expert.sum() < _FEWEST_TICKS or (steps.action[expert] != np.array(embodiment.hold, np.float32)).any():
        return None
    moved = _travel(steps.state[expert], embodiment.state)
    if moved < _MOVED:
        return None
    return Finding.of(
        Code.DATA_DEAD_ACTIONS, f"an expert's every action holds still while the state spans {moved:.0%} of its range"
    )


def check_order(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """No two states follow each other's actions instead of their own."""
    if len(steps.state) < _ORDER_TICKS:
        return None
    for (state_a, action_a), (state_b, action_b) in combinations(_pairs(embodiment), 2):
        crossed = min(_follows(steps, state_a, action_b), _follows(steps, state_b, action_a))
        own = max(_follows(steps, state_a, action_a), _follows(steps, state_b, action_b))
        if crossed >= _FOLLOWS and own <= _IGNORES:
            names = f"{embodiment.state[state_a].name} and {embodiment.state[state_b].name}"
            return Finding.of(Code.DATA_CHANNEL_ORDER, f"{names} follow each other's actions (r = {crossed:.2f})")
    return None


def check_repeated_rows(steps: Steps, _manifest: Manifest, _embodiment: Embodiment) -> Finding | None:
    """States are not measured at a fraction of the rate and repeated in between."""
    same = (np.diff(steps.state, axis=0) == 0).all(axis=1)
    repeats = len(list(runs(same)))
    if len(same) < _FEWEST_TICKS or repeats < _STUTTER * len(same):
        return None
    return Finding.of(Code.DATA_REPEATED_ROWS, f"states are repeated {repeats} times within {len(same)} ticks")


def travel(steps: Steps, embodiment: Embodiment, start: int, end: int) -> float:
    """The largest way of a state within rows [start, end), as a share of its range."""
    return _travel(steps.state[start:end], embodiment.state)


def runs(same: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches [start, end) of rows that are alike, where `same[k]` says that row k + 1 is as row k."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    return [(int(start), int(end) + 1) for start, end in edges.reshape(-1, 2)]


def _by_expert(steps: Steps) -> NDArray[np.bool_]:
    """Ticks that an expert drove. What a policy commands is behaviour, however bad, and has to count against it."""
    return np.array([source == "expert" for source in steps.executed], np.bool_)


def _travel(values: _Values, channels: tuple[Channel, ...]) -> float:
    return float((np.ptp(values, axis=0) / _limits(channels)[1]).max())


def _limits(channels: tuple[Channel, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower limits and ranges."""
    low = np.array([channel.low for channel in channels])
    return low, np.array([channel.high for channel in channels]) - low


def _tables(steps: Steps, embodiment: Embodiment) -> tuple[tuple[str, _Values, tuple[Channel, ...]], ...]:
    return ("state", steps.state, embodiment.state), ("action", steps.action, embodiment.action)


def _pairs(embodiment: Embodiment) -> list[tuple[int, int]]:
    """(state, action) channels that are the two sides of one thing."""
    actions = {(channel.name, channel.unit): number for number, channel in enumerate(embodiment.action)}
    found = ((number, actions.get((channel.name, channel.unit))) for number, channel in enumerate(embodiment.state))
    return [(state, action) for state, action in found if action is not None]


def _follows(steps: Steps, state: int, action: int) -> float:
    """The best correlation of a state with an action, up to three ticks before; 0 when one of them is constant."""
    measured, commanded = steps.state[:, state].astype(np.float64), steps.action[:, action].astype(np.float64)
    best = 0.0
    for lag in range(_LAG):
        late, early = measured[lag:], commanded[: len(commanded) - lag]
        if np.ptp(late) > 0 and np.ptp(early) > 0:
            best = max(best, float(np.corrcoef(late, early)[0, 1]))
    return best
