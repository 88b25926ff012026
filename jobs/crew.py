"""Workers on Ray and a queue of shards: each shard is played to its end exactly once, whatever dies meanwhile.

A worker that dies is replaced and its shard goes to whoever is free; a shard that keeps killing its workers, or a
worker that cannot start, ends the job with an error. Workers that find no free core yet delay nobody.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from volano.errors import Code, EvaluationError
from volano.evaluate.report import Actor
from volano.evaluate.suite import SeedPool, TrialResult

logger = logging.getLogger(__name__)
_PATIENCE_S = 10.0
"""The longest silence between two calls of `tick`."""
_TELL_S = 30.0
"""From one word to the next that no worker has started."""
_MAX_DEATHS = 3


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A few episodes of one actor on one robot: what a worker takes at a time, and what its death repeats."""

    actor: Actor
    embodiment: str
    pool: SeedPool
    numbers: tuple[int, ...]
    """Which trials of the pool."""


def play_all(
    shards: Sequence[Shard],
    workers: int,
    start: Callable[[], Any],
    finished: Callable[[Shard, list[TrialResult]], None],
    tick: Callable[[], None],
) -> None:
    """Play every shard on at most `workers` actors made by `start`; `finished` gets each shard's episodes once."""
    crew = _Crew(shards, start, finished)
    try:
        for _ in range(min(workers, len(shards))):
            crew.hire()
        while crew.unfinished():
            crew.wait(_PATIENCE_S)
            tick()
    finally:
        crew.dismiss()


def next_shard(waiting: Sequence[Shard], mine: set[str], others: set[str]) -> Shard:
    """The shard a worker takes: of a robot it has already open, else of one that nobody has, else the first."""
    preferred = [shard for shard in waiting if shard.embodiment in mine]
    fresh = [shard for shard in waiting if shard.embodiment not in others]
    return (preferred or fresh or list(waiting))[0]


class _Crew:
    def __init__(
        self,
        shards: Sequence[Shard],
        start: Callable[[], Any],
        finished: Callable[[Shard, list[TrialResult]], None],
    ) -> None:
        self._start, self._finished = start, finished
        self._waiting = list(shards)
        self._busy: dict[Any, tuple[Any, Shard | None]] = {}
        """Ray's promise to the worker and what it does; None while it starts."""
        self._idle: list[Any] = []
        self._opened: dict[Any, set[str]] = {}
        """Every living worker and the robots it has open."""
        self._deaths: Counter[Shard | None] = Counter()
        self._told = time.monotonic()

    def hire(self) -> None:
        worker = self._start()
        self._opened[worker] = set()
        self._busy[worker.open.remote()] = (worker, None)

    def unfinished(self) -> bool:
        return bool(self._waiting) or any(shard is not None for _, shard in self._busy.values())

    def wait(self, seconds: float) -> None:
        """Until something ends, at most so long; then whoever is free gets the next shard."""
        ready, _ = ray.wait(list(self._busy), timeout=seconds)
        for promise in ready:
            worker, shard = self._busy.pop(promise)
            try:
                result = ray.get(promise)
            except RayActorError as error:
                self._bury(worker, shard, error)
            except RayTaskError as error:
                raise error.cause from error
            else:
                self._idle.append(worker)
                if shard is not None:
                    self._finished(shard, result)
        self._tell_that_it_waits()
        while self._idle and self._waiting:
            self._employ(self._idle.pop())

    def _tell_that_it_waits(self) -> None:
        starting = sum(shard is None for _, shard in self._busy.values())
        if starting < len(self._opened):
            self._told = time.monotonic()
        elif time.monotonic() - self._told >= _TELL_S:
            self._told = time.monotonic()
            logger.info("none of %d workers has started: they load, or wait for a free core of the cluster", starting)

    def dismiss(self) -> None:
        for worker in self._opened:
            ray.kill(worker)

    def _employ(self, worker: Any) -> None:
        others = set().union(*(opened for other, opened in self._opened.items() if other is not worker))
        shard = next_shard(self._waiting, self._opened[worker], others)
        self._waiting.remove(shard)
        self._opened[worker].add(shard.embodiment)
        self._busy[worker.play.remote(shard)] = (worker, shard)

    def _bury(self, worker: Any, shard: Shard | None, error: RayActorError) -> None:
        del self._opened[worker]
        self._deaths[shard] += 1
        what = f"{shard.actor} on {shard.embodiment}, trials {shard.numbers}" if shard else "starting"
        logger.warning("a worker died (%s); its episodes are played again", what)
        if self._deaths[shard] >= _MAX_DEATHS:
            raise EvaluationError(
                Code.EVALUATION_WORKERS,
                f"{_MAX_DEATHS} workers died at the same work ({what})",
                "look for the reason (memory, graphics) in the logs of Ray; finished episodes are kept",
            ) from error
        if shard is not None:
            self._waiting.insert(0, shard)
        self.hire()
