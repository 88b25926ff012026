"""Which requests a policy answers together, and when: earliest deadline first, and hardly ever waiting.

A batch starts as soon as everybody who is expected has asked. Others are waited for by a small share of what a batch
takes, from when the policy was free on, so that robots fall into step; never beyond what a deadline allows. Nothing
here measures time: it is told.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
_PATIENCE = 0.1
"""Longest wait for others, in shares of what a batch takes."""
_LONGEST_WAIT_S = 0.01
_MARGIN = 1.2
"""Room that a deadline leaves for a batch which takes longer than those before it."""
_SMOOTHING = 0.3
_FORGET_S = 0.1
"""A source is expected for as long after it asked, and for the time of two batches more."""


@dataclass(frozen=True, kw_only=True)
class Waiting(Generic[Item]):
    """A request that was not begun."""

    item: Item
    source: Hashable
    """Who asked: one source asks again only when it was answered."""
    arrived: float
    deadline: float


@dataclass(kw_only=True)
class Batcher(Generic[Item]):
    """Requests of one policy. All times are seconds of one monotonic clock."""

    most: int
    """Requests of one batch."""
    _waiting: list[Waiting[Item]] = field(default_factory=list)
    _asked: dict[Hashable, float] = field(default_factory=dict)
    _took_s: float = 0.0
    _free_since: float = 0.0

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def add(self, request: Waiting[Item]) -> None:
        """Take a request in."""
        self._waiting.append(request)
        self._asked[request.source] = request.arrived

    def is_alone(self, source: Hashable, now: float) -> bool:
        """Whether a source that asks now need not wait for anybody: nothing waits, and no other asked lately. When it
        need not, it counts as one that has asked."""
        alone = not self._waiting and (self.most == 1 or self._expected(now) <= (source in self._asked))
        if alone:
            self._asked[source] = now
        return alone

    def start_at(self, now: float) -> float | None:
        """When the next batch should start, `now` or later; None when nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= min(self.most, self._expected(now)):
            return now
        patience = min(_PATIENCE * self._took_s, _LONGEST_WAIT_S)
        oldest = min(one.arrived for one in self._waiting)
        soonest = min(one.deadline for one in self._waiting)
        return max(now, min(max(oldest, self._free_since) + patience, soonest - _MARGIN * self._took_s))

    def take(self, now: float) -> tuple[list[Waiting[Item]], list[Waiting[Item]]]:
        """The requests to answer now, most urgent first, and those that are too late to begin."""
        late = [one for one in self._waiting if one.deadline <= now]
        urgent = sorted((one for one in self._waiting if one.deadline > now), key=lambda one: one.deadline)
        self._waiting = urgent[self.most :]
        return urgent[: self.most], late

    def note(self, took_s: float, now: float) -> None:
        """How long a batch took that ended `now`."""
        self._free_since = now
        self._took_s += (took_s - self._took_s) * (_SMOOTHING if self._took_s else 1)

    def _expected(self, now: float) -> int:
        """Sources that asked lately."""
        since = now - _FORGET_S - 2 * self._took_s
        self._asked = {source: asked for source, asked in self._asked.items() if asked >= since}
        return len(self._asked)
