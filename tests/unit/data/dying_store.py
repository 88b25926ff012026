"""A store whose process dies after any of its operations, reads included."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tests.unit.data.memory_store import Killed
from volano.storage.parts import Address, Part, Parts, PartStore, Slot
from volano.storage.store import ObjectInfo

_Result = TypeVar("_Result")


class DyingStore:
    """Passes everything on, and raises Killed once operation `last` has taken effect."""

    def __init__(self, inner: PartStore, last: int) -> None:
        self.inner = inner
        self.url = inner.url
        self.last = last
        self.done = 0
        self.parts = DyingParts(self, inner.parts)

    def put_new(self, key: str, data: bytes) -> bool:
        return self.counted(self.inner.put_new(key, data))

    def put_new_file(self, key: str, path: Path) -> bool:
        return self.counted(self.inner.put_new_file(key, path))

    def get(self, key: str) -> bytes:
        return self.counted(self.inner.get(key))

    def get_file(self, key: str, path: Path) -> None:
        self.inner.get_file(key, path)
        self.counted(None)

    def exists(self, key: str) -> bool:
        return self.counted(self.inner.exists(key))

    def size(self, key: str) -> int | None:
        return self.counted(self.inner.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self.counted(list(self.inner.list(prefix))))

    def delete(self, key: str) -> None:
        self.inner.delete(key)
        self.counted(None)

    def counted(self, result: _Result) -> _Result:
        self.done += 1
        if self.done == self.last:
            raise Killed
        return result


class DyingParts:
    """The same for what is unfinished."""

    def __init__(self, store: DyingStore, inner: Parts) -> None:
        self._store, self._inner = store, inner
        self.sent = 0
        """Parts that were put."""

    def open(self, key: str) -> str:
        return self._store.counted(self._inner.open(key))

    def listed(self, key: str, upload: str) -> dict[int, Part]:
        return self._store.counted(self._inner.listed(key, upload))

    def put(self, key: str, upload: str, number: int, data: bytes) -> None:
        self.sent += 1
        self._inner.put(key, upload, number, data)
        self._store.counted(None)

    def close(self, key: str, upload: str, hashes: Sequence[str]) -> None:
        self._inner.close(key, upload, hashes)
        self._store.counted(None)

    def address(self, slot: Slot, seconds: int) -> Address | None:
        return self._inner.address(slot, seconds)

    def remove_abandoned(self, now: float) -> int:
        return self._store.counted(self._inner.remove_abandoned(now))
