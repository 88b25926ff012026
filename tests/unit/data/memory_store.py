"""An object store in memory, which can be told to die: it stands for a process killed between two puts."""

from collections.abc import Iterator
from pathlib import Path

from volano.errors import Code, StorageError
from volano.storage.store import ObjectInfo


class Killed(BaseException):
    """The process ends here: nothing may catch this."""


class MemoryStore:
    """Keeps the contract of `ObjectStore`; after `lives` puts every further put raises Killed."""

    url = "memory:"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
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
