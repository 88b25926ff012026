"""Whether an episode's ticks stand where the contract's rate puts them: pure checks over the column `timestamp`."""

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.steps import Steps
from volano.embodiment.contract import Embodiment
from volano.errors import Code

RATE_TOLERANCE = 0.2
"""Share of the period by which the median tick may differ from the contract's rate."""
_MAX_PAUSE_TICKS = 5
_MAX_PAUSE_S = 1.0
_SHORT, _LONG = 0.5, 1.5
"""In periods: a tick that is nearer than one half came in a burst, one that is farther skipped another."""
_FEWEST = 3
"""Irregular ticks that are no accident: an operating system delays one now and then."""
_MOST_JITTER = 0.1
_MOST_DROPPED = 0.05
"""Share of ticks. A loop that keeps its rate on a loaded machine stays far below either."""
CLOCK_SET = 1.5e9
"""Unix time, July 2017: no robot of ours is older, and a clock that lost its battery says 1970 or 2000."""


def check_clock(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """Time starts at 0 or later, grows, keeps near the contract's rate and never pauses for long."""
    time = steps.timestamp
    if not np.isfinite(time).all() or time[0] < 0:
        return Finding.of(Code.DATA_CLOCK, "a timestamp is negative or not a number")
    gaps = np.diff(time)
    if gaps.size == 0:
        return None
    if gaps.min() <= 0:
        return Finding.of(Code.DATA_CLOCK, f"time does not grow after row {int(gaps.argmin())}")
    period = 1 / embodiment.rate_hz
    median = float(np.median(gaps))
    if abs(median - period) > RATE_TOLERANCE * period:
        return Finding.of(Code.DATA_CLOCK, f"the median tick is {median:.4f} s, the contract's {period:.4f} s")
    if gaps.max() > max(_MAX_PAUSE_TICKS * period, _MAX_PAUSE_S):
        return Finding.of(Code.DATA_CLOCK, f"a pause of {gaps.max():.2f} s after row {int(gaps.argmax())}")
    return None


def check_jitter(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """Ticks do not come in bursts."""
    return _too_many(
        np.diff(steps.timestamp) * embodiment.rate_hz < _SHORT,
        _MOST_JITTER,
        Code.DATA_CLOCK_JITTER,
        "ticks follow within half a period",
    )


def check_dropped(steps: Steps, _manifest: Manifest, embodiment: Embodiment) -> Finding | None:
    """Ticks are not left out again and again. A pause before a new answer is a policy that thinks, not a loss."""
    skipped = np.diff(steps.timestamp) * embodiment.rate_hz > _LONG
    waited = np.array(steps.request[1:]) != np.array(steps.request[:-1])
    return _too_many(
        skipped & ~waited, _MOST_DROPPED, Code.DATA_DROPPED_TICKS, "ticks follow after one and a half periods or more"
    )


def _too_many(irregular: NDArray[np.bool_], most: float, code: Code, what: str) -> Finding | None:
    count = int(irregular.sum())
    if count < _FEWEST or count < most * len(irregular):
        return None
    return Finding.of(code, f"{count} of {len(irregular)} {what}, first after row {int(irregular.argmax())}")
