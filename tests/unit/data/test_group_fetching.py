"""Reads stay ahead of whoever takes what they bring, and not too far, however many files the groups are of."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from volano.data.group_fetching import GroupFetching

_AHEAD = 128


@pytest.mark.parametrize("files", [1, 20, 300])
def test_reads_stay_ahead(files: int) -> None:
    """Groups of many files in turn: each file has a batch of which something is taken, and something is not."""
    needed = list(range(1200))
    batches = [list(part) for file in range(files) for part in _cut(needed[file::files], 8)]
    begun: set[int] = set()

    def fetch(batch: Sequence[int]) -> dict[int, bytes]:
        begun.update(batch)
        return {group: str(group).encode() for group in batch}

    with ThreadPoolExecutor(1) as pool:
        fetching = GroupFetching(fetch, lambda _group: 1000, pool)
        fetching.add(sorted(batches))
        for place, group in enumerate(needed):
            assert fetching.take(group) == str(group).encode()
            pool.submit(int).result()  # until the one thread has nothing left to do
            ahead = len(begun) - place - 1
            assert ahead < (_AHEAD + 8) * (1 if files == 1 else 8), "more is held than was asked for"
            assert ahead >= min(_AHEAD - 1, len(needed) - place - 1), "reads fell behind"


def test_large_groups_are_not_all_held() -> None:
    begun: set[int] = set()

    def fetch(batch: Sequence[int]) -> dict[int, bytes]:
        begun.update(batch)
        return dict.fromkeys(batch, b"")

    with ThreadPoolExecutor(1) as pool:
        fetching = GroupFetching(fetch, lambda _group: 4 << 20, pool)
        fetching.add([[number] for number in range(100)])
        for number in range(100):
            fetching.take(number)
            pool.submit(int).result()
            assert len(begun) - number - 1 <= 16


def test_what_failed_is_raised_when_it_is_taken_and_not_before() -> None:
    failed = OSError("gone")
    with ThreadPoolExecutor(2) as pool:
        fetching = GroupFetching(
            lambda batch: {group: failed if group == 1 else b"" for group in batch}, lambda _group: 0, pool
        )
        fetching.add([[0, 1, 2], [3]])
        assert [fetching.take(group) for group in (0, 2, 3)] == [b"", b"", b""]
        with pytest.raises(OSError, match="gone"):
            fetching.take(1)
        fetching.cancel()


def _cut(groups: Sequence[int], size: int) -> list[Sequence[int]]:
    return [groups[first : first + size] for first in range(0, len(groups), size)]
