"""Reads batches of groups of pictures ahead of those who decode them, a bounded number at once."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD, _AHEAD_BYTES = 128, 64 << 20
"""Groups that are read before they are taken, and their bytes, besides those that are read together with one that is
needed."""

Fetched = bytes | Exception
"""A group's bytes, or why there are none."""


class GroupFetching:
    """Of one reader."""

    def __init__(
        self,
        fetch: Callable[[Sequence[int]], Mapping[int, Fetched]],
        size: Callable[[int], int],
        pool: ThreadPoolExecutor,
    ) -> None:
        """`fetch` brings what there is of each group of a batch, `size` says how many bytes a group has."""
        self._fetch, self._size, self._pool = fetch, size, pool
        self._bytes = 0
        """Of the groups that are begun."""
        self._later = deque[list[int]]()
        self._begun: dict[int, Future[Mapping[int, Fetched]]] = {}
        """By group; those of a batch are one."""

    def add(self, batches: Iterable[list[int]]) -> None:
        """More of them, in the order in which they are taken."""
        self._later.extend(batches)

    def take(self, group: int) -> bytes:
        """Bytes of a group, once for each time that it was added; raises what kept them away."""
        while group not in self._begun or (self._later and self._is_room()):
            batch = self._later.popleft()
            future = self._pool.submit(self._fetch, batch)
            self._begun |= dict.fromkeys(batch, future)
            self._bytes += sum(map(self._size, batch))
        found = self._begun.pop(group).result()[group]
        self._bytes -= self._size(group)
        if isinstance(found, Exception):
            raise found
        return found

    def _is_room(self) -> bool:
        return len(self._begun) < _AHEAD and self._bytes < _AHEAD_BYTES

    def cancel(self) -> None:
        """What was begun and not taken; nothing can be taken then."""
        for future in self._begun.values():
            future.cancel()
