"""A store whose process dies after any of its operations, reads included."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tests.unit.data.memory_store import Killed
from volano.storage.store import ObjectInfo, ObjectStore

_Result = TypeVar("_Result")


class DyingStore:
    """Passes everything on, and raises Killed once operation `last` has taken effect."""

    def __init__(self, inner: ObjectStore, last: int) -> None:
        self.inner = inner
        self.url = inner.url
        self.last = last
        self.done = 0

    def put_new(self, key: str, data: bytes) -> bool:
        return self._counted(self.inner.put_new(key, data))

    def put_new_file(self, key: str, path: Path) -> bool:
        return self._counted(self.inner.put_new_file(key, path))

    def get(self, key: str) -> bytes:
        return self._counted(self.inner.get(key))

    def get_file(self, key: str, path: Path) -> None:
        self.inner.get_file(key, path)
        self._counted(None)

    def exists(self, key: str) -> bool:
        return self._counted(self.inner.exists(key))

    def size(self, key: str) -> int | None:
        return self._counted(self.inner.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._counted(list(self.inner.list(prefix))))

    def delete(self, key: str) -> None:
        self.inner.delete(key)
        self._counted(None)

    def _counted(self, result: _Result) -> _Result:
        self.done += 1
        if self.done == self.last:
            raise Killed
        return result
