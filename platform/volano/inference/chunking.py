"""What an asynchronous robot executes: chunks that overlap, as decisions without a clock or a network.

Positions count the actions of policies that were executed. A chunk made from the observation at position p commands
position p + i by its row i, however long it took: a robot that ran out of actions and stood still goes on where it
stopped. What is older than its bound is never handed out. Rows are kept as ticks execute them (`to_steps`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np

from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import Prefix, longest_delay, stride, to_chunk, to_steps
from volano.errors import Code, ServeError
from volano.inference.guard import FloatArray, check_seam, is_stale

Joining = Literal["real_time", "latest_only", "weighted_average", "temporal_ensemble"]
"""How chunks that overlap become one. `real_time`: the newest, and its policy is told what the robot executes until it
arrives, so that it goes on from there. `latest_only`: the newest. `weighted_average`: 0.3 of what was planned and 0.7
of the newest. `temporal_ensemble`: all of them, the oldest weighing most, falling by exp(-0.01)."""
_NEWEST, _FADING = 0.7, 0.01
_REMEMBERED = 8
"""Delays that the estimate is the longest of."""
_TAIL = 4
"""Executed rows that a seam is judged by."""
Source = TypeVar("Source")


@dataclass(frozen=True, kw_only=True, eq=False)
class Question(Generic[Source]):
    """What a chunk that was asked for will be placed by."""

    tick: int
    position: int
    observed_at: float
    """Seconds of the robot's monotonic clock."""
    prefix: Prefix | None
    """None where nothing was planned, and with every joining but `real_time`."""
    cold: bool
    """Nothing was planned: how long this answer takes says nothing about those that are waited for in motion."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Action(Generic[Source]):
    """What one tick executes, and may look ahead to."""

    rows: FloatArray
    """Shape (rows, channels), in the contract's frame of this tick; the first is executed now."""
    observed_at: float
    """Of the oldest observation that has a part in the first row."""
    source: Source
    """Of the newest chunk that has one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proposal(Generic[Source]):
    """What one chunk wants at one position."""

    row: FloatArray
    observed_at: float
    source: Source


@dataclass(frozen=True, kw_only=True)
class Delays:
    """How many ticks answers take while the robot moves."""

    longest: int
    measured: tuple[int, ...] = ()

    @property
    def estimate(self) -> int:
        """The longest of late; at least half of what is allowed, until enough were measured to say better."""
        known = list(self.measured)
        return max(known if len(known) == _REMEMBERED else [(self.longest + 1) // 2, *known])

    def after(self, ticks: int, consumed: int) -> "Delays":
        """With one more, of which the robot had actions for `consumed` ticks.

        Raises ServeError(E-SERVE-003) when it was longer than allowed.
        """
        if ticks > self.longest:
            raise ServeError(
                Code.SERVE_DELAY,
                f"the answer took {ticks} ticks, chunks can bridge {self.longest}",
                "serve faster, nearer or a longer horizon, or ask synchronously",
            )
        return Delays(longest=self.longest, measured=(*self.measured[1 - _REMEMBERED :], min(ticks, consumed)))


@dataclass(kw_only=True)
class ChunkQueue(Generic[Source]):
    """The plan of one robot in one episode."""

    robot: Embodiment
    joining: Joining
    oldest_s: float
    """An action is executed only while the observation that it was made from is at most so old."""
    delays: Delays = field(init=False)
    position: int = field(init=False, default=0)
    _plan: list[list[_Proposal[Source]]] = field(init=False, default_factory=list)
    """Of each position from the present one on, the oldest first."""
    _tail: list[FloatArray] = field(init=False, default_factory=list)
    """Rows of policies that were executed on the ticks just before."""

    def __post_init__(self) -> None:
        self.delays = Delays(longest=longest_delay(self.robot))

    @property
    def left(self) -> int:
        """Rows that are planned."""
        return len(self._plan)

    def is_due(self) -> bool:
        """Whether it is time to ask for the next chunk."""
        return self.left <= self.robot.horizon - stride(self.robot, self.delays.estimate)

    def question(self, tick: int, now: float) -> Question[Source]:
        """What to ask with this tick's observation, before its action is taken."""
        self._forget(now)
        prefix = None
        if self._plan and self.joining == "real_time":
            delay = min(self.delays.estimate, self.left)
            prefix = Prefix(actions=to_chunk(self.robot, self._joined()), delay=delay)
        return Question(tick=tick, position=self.position, observed_at=now, prefix=prefix, cold=not self._plan)

    def arrive(self, question: Question[Source], chunk: FloatArray, source: Source, tick: int) -> None:
        """Take up a chunk that the guard let pass, before this tick's action is taken.

        Rows whose position was executed are dropped; frozen rows stay while they are young enough. Raises
        ServeError(E-SERVE-003) when it took longer than the plan can bridge, WireError(E-WIRE-005) when it does not go
        on from what is executed; the plan is the old one then.
        """
        consumed = self.position - question.position
        if self.joining == "real_time" and not question.cold:
            self.delays = self.delays.after(tick - question.tick, consumed)
        frozen = 0 if question.prefix is None else question.prefix.delay
        rows = to_steps(self.robot, chunk)
        plan = [list(proposals) for proposals in self._plan]
        first = max(consumed, min(frozen, consumed + len(plan)))
        for at in range(consumed, len(rows)):
            proposal = _Proposal(row=rows[at], observed_at=question.observed_at, source=source)
            if at - consumed == len(plan):
                plan.append([proposal])
            else:  # behind the frozen row, for when that is too old
                plan[at - consumed].insert(0 if at < first else len(plan[at - consumed]), proposal)
        joined = np.array([_join(proposals, self.joining) for proposals in plan])
        kept = first - consumed
        check_seam(self.robot, np.array([*self._tail, *joined[:kept]]), joined[kept:])
        self._plan = plan

    def take(self, now: float) -> Action[Source] | None:
        """This tick's action, which from now on counts as executed; None when there is none that is young enough."""
        self._forget(now)
        if not self._plan:
            self._tail = []
            return None
        joined = self._joined()
        parts = self._plan.pop(0)
        used = parts[-1:] if self.joining in {"real_time", "latest_only"} else parts
        self.position += 1
        self._tail = [*self._tail, joined[0]][-_TAIL:]
        return Action(
            rows=to_chunk(self.robot, joined),
            observed_at=min(one.observed_at for one in used),
            source=parts[-1].source,
        )

    def _forget(self, now: float) -> None:
        """Whatever is too old at `now`, and what stands behind a position that nothing is left for."""
        fresh = [[one for one in each if not is_stale(one.observed_at, now, self.oldest_s)] for each in self._plan]
        empty = next((at for at, proposals in enumerate(fresh) if not proposals), len(fresh))
        self._plan = fresh[:empty]

    def _joined(self) -> FloatArray:
        return np.array([_join(proposals, self.joining) for proposals in self._plan], np.float32)


def _join(proposals: Sequence[_Proposal[Source]], joining: Joining) -> FloatArray:
    if joining in {"real_time", "latest_only"}:
        return proposals[-1].row
    rows = np.array([one.row for one in proposals], np.float64)
    if joining == "weighted_average":
        shares = [(1 - _NEWEST) ** (len(rows) - 1 - at) * (_NEWEST if at else 1.0) for at in range(len(rows))]
    else:
        shares = [math.exp(-_FADING * at) for at in range(len(rows))]
    joined: FloatArray = (np.array(shares) @ rows / sum(shares)).astype(np.float32)
    return joined
