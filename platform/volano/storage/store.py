"""The object store's door: whole objects under keys, with the one primitive that commits need.

`put_new` is the conditional put: of any number of writers of one key exactly one wins. Everything durable in
Volano is committed by one `put_new`. Two implementations: a local folder and S3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One listed object."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Keys are relative, `/`-separated, without `.`, `..`, empty parts or control characters (else E-STORE-005).

    Every method raises StorageError: E-STORE-001 missing bucket, E-STORE-003 full, E-STORE-004 unavailable,
    E-STORE-006 no such object. A put that returned is durable.
    """

    url: str
    """What `open_store` takes to open the same store again."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True for the one writer that wins, False when an object was there."""
        ...

    def put_new_file(self, key: str, path: Path) -> bool:
        """`put_new` of a file's content."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Write the whole object to a new file, atomically."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def size(self, key: str) -> int | None:
        """Bytes of the object; None when it is not there. Its cost does not depend on what else there is."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, in key order."""
        ...

    def delete(self, key: str) -> None:
        """Remove; absent is not an error. Only garbage collection of uncommitted objects may call it."""
        ...
