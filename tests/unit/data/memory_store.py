"""An object store in memory, which can be told to die: it stands for a process killed between two puts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from volano.errors import Code, StorageError
from volano.storage.content import sha256_bytes
from volano.storage.parts import Part, Slot, other_parts
from volano.storage.store import ObjectInfo


class Killed(BaseException):
    """The process ends here: nothing may catch this."""


class MemoryStore:
    """Keeps the contract of `ObjectStore`; after `lives` puts every further put raises Killed."""

    url = "memory:"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts = MemoryParts(self)
        self.lives: int | None = None

    def put_new(self, key: str, data: bytes) -> bool:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed
            self.lives -= 1
        if key in self.objects:
            return False
        self.objects[key] = data
        return True

    def put_new_file(self, key: str, path: Path) -> bool:
        return self.put_new(key, path.read_bytes())

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise StorageError(Code.STORE_MISSING, f"no object {key}", "none")
        return self.objects[key]

    def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key))

    def exists(self, key: str) -> bool:
        return key in self.objects

    def size(self, key: str) -> int | None:
        return len(self.objects[key]) if key in self.objects else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield ObjectInfo(key=key, size=len(self.objects[key]))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class MemoryParts:
    """Keeps the contract of `Parts`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.unfinished: dict[str, dict[int, bytes]] = {}

    def open(self, key: str) -> str:
        self.unfinished.setdefault(key, {})
        return key

    def listed(self, key: str, upload: str) -> dict[int, Part]:
        if upload not in self.unfinished:
            raise StorageError(Code.STORE_MISSING, f"the unfinished {key} is gone", "none")
        return {
            number: Part(size=len(data), sha256=sha256_bytes(data)) for number, data in self.unfinished[upload].items()
        }

    def put(self, key: str, upload: str, number: int, data: bytes) -> None:
        del key
        self.unfinished[upload][number] = data

    def close(self, key: str, upload: str, hashes: Sequence[str]) -> None:
        parts = self.unfinished.pop(upload, {})
        if key in self._store.objects:
            return
        if [sha256_bytes(parts[number]) for number in sorted(parts)] != list(hashes):
            raise other_parts(key)
        self._store.put_new(key, b"".join(parts[number] for number in sorted(parts)))

    def address(self, slot: Slot, seconds: int) -> None:
        del slot, seconds

    def remove_abandoned(self, now: float) -> int:
        del now
        return 0
