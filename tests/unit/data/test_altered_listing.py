"""What an S3 server lists and says of sizes has no checksum: altered on the way, it must not become a verdict."""

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
    """The k-th listing, or answer about a size, arrives altered."""

    def __init__(self, objects: dict[str, bytes], position: int, alter: Alter) -> None:
        super().__init__()
        self.objects = dict(objects)
        self.position, self.alter = position, alter
        self.answers = 0

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._answer([*super().list(prefix)]))

    def size(self, key: str) -> int | None:
        size = super().size(key)
        found = self._answer([] if size is None else [ObjectInfo(key=key, size=size)])
        return next((info.size for info in found if info.key == key), None)

    def _answer(self, found: Sequence[ObjectInfo]) -> Sequence[ObjectInfo]:
        self.answers += 1
        return [self.alter(info) for info in found] if self.answers == self.position else found


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
def test_what_arrived_altered_is_asked_for_again(tmp_path: Path, alter: Alter) -> None:
    sent = MemoryStore()
    upload(sent, tmp_path / "one", write_bundle(tmp_path / "one", Draft(frames=4)))
    position, answers = 0, 1
    while position < answers:
        position += 1
        store = Altered(sent.objects, position, alter)
        for _ in range(2):
            with suppress(StorageError):
                judge(store, pending(store), KNOWN, sound)
        answers = store.answers
        [verdict] = [data for key, data in store.objects.items() if key.startswith("verdicts/")]
        assert b'"verdict":"accepted"' in verdict, f"answer {position}: {verdict!r}"
    assert position >= 8, "two listings by each run, and the sizes of the manifest and of three files"
