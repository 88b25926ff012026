"""The control lease: a robot may act by a policy for a few seconds, each counted from when it asked.

Pure but for the clock's name. A lease never outlives `length` on the robot's own clock behind the *question*, however
late its answer comes, and what was asked before a stop grants nothing behind it. A clock that goes back ends the lease.
"""

import math
import time
from dataclasses import dataclass, field

from volano.errors import Code

LEASE_S = 5.0
"""What a gateway grants."""
RENEW_S = 1.0
"""How often a robot asks."""
_MOST_ASKED = 16
_APART_S = 0.1
"""By which two threads' readings of one clock may stand in the wrong order."""
NONE = f"{Code.HOLD_LEASE} no gateway granted a control lease yet"
ENDED = f"{Code.HOLD_LEASE} the control lease ended: no gateway renewed it"


def steady_clock() -> float:
    """Seconds that no one sets and that go on while the machine sleeps, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(kw_only=True)
class Lease:
    """A robot's side; times are seconds of `steady_clock`."""

    _number: int = 0
    _asked: dict[int, float] = field(default_factory=dict)
    """Questions without an answer yet."""
    _from: float | None = None
    """When the question was asked that the present lease answers."""
    _until: float = 0.0
    _latest: float = -math.inf
    _problem: str = NONE

    def ask(self, now: float) -> int:
        """The number of a question that is sent now."""
        self._notice(now)
        self._number += 1
        self._asked[self._number] = now
        while len(self._asked) > _MOST_ASKED:
            del self._asked[min(self._asked)]
        return self._number

    def grant(self, number: int, length_s: float) -> None:
        """A gateway granted what was asked; longer than `LEASE_S` is cut, and strange numbers grant nothing."""
        asked = self._asked.pop(number, None)
        if asked is None or not length_s > 0:
            return
        if self._from is None or asked > self._from:
            self._from, self._until, self._problem = asked, asked + min(length_s, LEASE_S), ENDED

    def stop(self, why: str) -> None:
        """An operator stopped the robot: no lease, and no question under way grants one."""
        self._asked.clear()
        self._from, self._problem = None, f"{Code.HOLD_STOPPED} {why}"

    def problem(self, now: float) -> str:
        """Why no policy may act now; empty while one may."""
        self._notice(now)
        if self._from is not None and self._from <= now < self._until:
            return ""
        return self._problem

    def _notice(self, now: float) -> None:
        if now < self._latest - _APART_S:
            self._asked.clear()
            self._from, self._problem = None, ENDED
            self._latest = now
        self._latest = max(self._latest, now)
