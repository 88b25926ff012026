"""A listing of an S3 server has no checksum: one that was altered on the way must not become a verdict."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, Draft, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from volano.data.finding import Finding
from volano.data.judge import judge
from volano.data.sandbox import Bundle
from volano.data.verdict import pending
from volano.errors import StorageError
from volano.storage.store import ObjectInfo

Alter = Callable[[ObjectInfo], ObjectInfo]


class Altered(MemoryStore):
    """The k-th listing arrives altered."""

    def __init__(self, objects: dict[str, bytes], position: int, alter: Alter) -> None:
        super().__init__()
        self.objects = dict(objects)
        self.position, self.alter = position, alter
        self.listings = 0

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.listings += 1
        found = super().list(prefix)
        return map(self.alter, found) if self.listings == self.position else found


def sound(bundles: Sequence[Bundle]) -> list[Finding | None]:
    return [None for _ in bundles]


@pytest.mark.parametrize(
    "alter",
    [
        lambda info: replace(info, key=info.key[:-1] + "?"),
        lambda info: replace(info, size=info.size + 1),
        lambda info: replace(info, size=1 << 40),
    ],
)
def test_an_altered_listing_is_read_again(tmp_path: Path, alter: Alter) -> None:
    sent = MemoryStore()
    upload(sent, tmp_path / "one", write_bundle(tmp_path / "one", Draft(frames=4)))
    position, listings = 0, 1
    while position < listings:
        position += 1
        store = Altered(sent.objects, position, alter)
        for _ in range(2):
            with suppress(StorageError):
                judge(store, pending(store), KNOWN, sound)
        listings = store.listings
        [verdict] = [data for key, data in store.objects.items() if key.startswith("verdicts/")]
        assert b'"verdict":"accepted"' in verdict, f"listing {position}: {verdict!r}"
    assert position >= 6
