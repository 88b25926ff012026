"""The world of a simulated rollout: true time, a network, clocks that jump, and chance, all from one seed.

Nothing in it sleeps or asks a real clock. What happens is drawn into a trace, which is the same for the same seed.
"""

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.sweeps.rollouts.faults import Commits, FlakyStore
from tests.sweeps.rollouts.truth import Truth
from volano.ledger.ledger import Ledger
from volano.rollout.plan import Rollout

EPOCH_S = 1.7e9
CALM_S = 40.0
"""When faults stop."""


@dataclass(kw_only=True)
class World:
    """One run."""

    random: Random
    ledger: Ledger
    plan: Rollout
    counts: Counter[str] = field(default_factory=Counter)
    now: float = 0.0
    shadows: list[dict[str, object]] = field(default_factory=list)
    ended: Callable[[], None] = lambda: None
    """The rollout ended."""
    while_thinking: Callable[[Any], None] = lambda _gateway: None
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0
    _trace: Any = field(default_factory=hashlib.sha256)
    _parted: dict[str, float] = field(default_factory=dict)
    """Until when nothing reaches a node."""
    _offsets: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.truth = Truth(plan=self.plan)
        self.commits = Commits(counts=self.counts)
        self.store = FlakyStore(self.counts)
        self.store.fails = lambda: self.chance(0.02)

    @property
    def calm(self) -> bool:
        """Whether faults have stopped."""
        return self.now >= CALM_S

    @property
    def trace(self) -> str:
        """Digest of all that was noted."""
        return str(self._trace.hexdigest())

    def note(self, *what: object) -> None:
        """One thing that happened."""
        self._trace.update(repr((round(self.now, 6), what)).encode())

    def chance(self, share: float) -> bool:
        """A fault of this probability; never when faults have stopped."""
        return not self.calm and self.random.random() < share

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do it later."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + seconds, self._number, work))

    def every(self, seconds: float, work: Callable[[], None]) -> None:
        """Do it again and again, at a phase of its own."""

        def again() -> None:
            self.after(seconds, again)
            work()

        self.after(self.random.uniform(0, seconds), again)

    def run(self, until: float) -> None:
        """Let it happen."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, work = heapq.heappop(self._queue)
            work()
        self.now = until

    def skip(self, seconds: float) -> None:
        """Let time go by in which nothing happens."""
        self.now += seconds
        self._queue = [(at + seconds, number, work) for at, number, work in self._queue]

    def part(self, node: str, seconds: float) -> None:
        """Nothing reaches a node for a while."""
        self.counts["partitions"] += 1
        self._parted[node] = max(self._parted.get(node, 0.0), self.now + seconds)

    def reaches(self, node: str) -> bool:
        """Whether something sent to a node arrives now."""
        return self.calm or self._parted.get(node, -math.inf) <= self.now

    def send(self, node: str, work: Callable[[], None], late: float = 0.05) -> None:
        """Between a robot and its gateway: late (this share), lost, twice, or held up by a partition."""
        copies = 1
        if self.chance(0.08):
            copies = self.random.choice([0, 2])
            self.counts["messages lost" if copies == 0 else "messages repeated"] += 1
        for _ in range(copies):
            seconds = self.random.expovariate(20)
            if self.chance(late):
                self.counts["messages late"] += 1
                seconds = self.random.uniform(1, 9)
            if not self.reaches(node):
                if self.random.random() < 0.5:
                    self.counts["messages lost"] += 1
                    continue
                self.counts["messages held up"] += 1
                seconds += self._parted[node] - self.now
            self.after(seconds, work)

    def jump(self, node: str) -> None:
        """Somebody sets a clock: by up to an hour, forth or back."""
        self.counts["clocks jumped"] += 1
        self._offsets[node] += self.random.uniform(-3600, 3600)

    def wall(self, node: str) -> float:
        """What a node takes for Unix time."""
        return EPOCH_S + self.now + self._offsets[node]

    @contextmanager
    def calling(self, what: str, node: str) -> Iterator[None]:
        """A node asks the ledger: it may be parted from it, its request or the answer lost, or die at either edge."""
        before = self.commits.armed, self.commits.who, self.commits.parted
        self.commits.who, self.commits.parted, self.commits.armed = what, not self.reaches(f"{node}-ledger"), None
        if self.chance(0.12):
            self.commits.armed = self.random.choice(("crash", "lose")), self.random.choice(("before", "after"))
        try:
            yield
        finally:
            self.commits.armed, self.commits.who, self.commits.parted = before
