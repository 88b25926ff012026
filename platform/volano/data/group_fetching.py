"""Reads runs of groups of pictures ahead of those who decode them, a bounded number at once."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD = 64
"""Reads that may have been begun before what they bring is taken."""


class GroupFetching:
    """Of one reader."""

    def __init__(self, fetch: Callable[[Sequence[int]], dict[int, bytes]], pool: ThreadPoolExecutor) -> None:
        """`fetch` brings the bytes of each group of a run."""
        self._fetch, self._pool = fetch, pool
        self._later = deque[list[int]]()
        self._begun: dict[int, Future[dict[int, bytes]]] = {}
        """By group; those of a run are one."""
        self._left: Counter[Future[dict[int, bytes]]] = Counter()
        """Groups that nobody took yet."""

    def add(self, runs: Iterable[list[int]]) -> None:
        """More of them, in the order in which they are taken."""
        self._later.extend(runs)

    def take(self, group: int) -> bytes:
        """Bytes of a group, once for each time that it was added."""
        while group not in self._begun or (self._later and len(self._left) < _AHEAD):
            run = self._later.popleft()
            future = self._pool.submit(self._fetch, run)
            self._begun |= dict.fromkeys(run, future)
            self._left[future] = len(run)
        future = self._begun.pop(group)
        data = future.result()[group]
        self._left[future] -= 1
        if not self._left[future]:
            del self._left[future]
        return data

    def cancel(self) -> None:
        """What was begun and not taken; nothing can be taken then."""
        for future in self._left:
            future.cancel()
