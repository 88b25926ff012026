"""Large objects that go up in parts: each part is checked by the store, and what is there need not be sent again.

Only for keys that name their content, or that one writer owns: not every server lets just one of two writers win that
finish at the same moment. A part that returned is durable. What is never finished is thrown away after a week.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from volano.errors import Code, StorageError
from volano.storage.content import sha256_bytes
from volano.storage.store import ObjectStore

PART_BYTES = 16 << 20
"""Size of every part but the last. Files up to this size go up whole; S3 takes 5 MiB to 5 GiB, and 10,000 parts."""
ABANDONED_S = 7 * 24 * 3600.0
"""After so long an unfinished object is not waited for: a robot may be off over a long week-end."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where exactly these bytes belong: a whole object, or one part of an unfinished one."""

    key: str
    upload: str
    """The unfinished object that `Parts.open` named; empty for a whole object."""
    number: int
    """From 1; 0 for a whole object."""
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Address:
    """An HTTP PUT that the store takes from a stranger, for some minutes, with the slot's bytes and no others."""

    url: str
    headers: Mapping[str, str]
    """To be sent with it, besides Content-Length."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that is there."""

    size: int
    sha256: str
    """Empty where the server keeps it and does not tell."""


class Parts(Protocol):
    """The unfinished objects of one store. Every method raises StorageError like the store's own."""

    def open(self, key: str) -> str:
        """The unfinished object of a key: the oldest there is, else a new one."""
        ...

    def listed(self, key: str, upload: str) -> dict[int, Part]:
        """The parts that are there, by number from 1. E-STORE-006 when the unfinished object is gone."""
        ...

    def put(self, key: str, upload: str, number: int, data: bytes) -> None:
        """Write one part; the same again changes nothing. Where another content was sent for this number before, the
        server decides which counts, and `close` says so if it is the wrong one."""
        ...

    def close(self, key: str, upload: str, hashes: Sequence[str]) -> None:
        """Make the object of the parts with these SHA-256s, in order, unless the key exists: then nothing changes.

        E-STORE-008 when the parts are others; they are thrown away then, since nobody could tell which is wrong."""
        ...

    def address(self, slot: Slot, seconds: int) -> Address | None:
        """Where somebody without credentials may put a slot's bytes; None when the store has no door of its own."""
        ...

    def remove_abandoned(self, now: float) -> int:
        """Throw away what was begun over a week before `now` (Unix time in seconds); returns how many."""
        ...


class PartStore(ObjectStore, Protocol):
    """An object store that takes parts."""

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none."""
        ...

    @property
    def parts(self) -> Parts:
        """Its unfinished objects."""
        ...


def put_slot(store: PartStore, slot: Slot, data: bytes) -> None:
    """Put a slot's bytes; a whole object that is there already stays. Raises StorageError(E-STORE-008) for other bytes
    than the slot's, and then nothing was put."""
    if len(data) != slot.size or sha256_bytes(data) != slot.sha256:
        raise other_parts(slot.key)
    if slot.number:
        store.parts.put(slot.key, slot.upload, slot.number, data)
    else:
        store.put_new(slot.key, data)


def other_parts(key: str) -> StorageError:
    """E-STORE-008."""
    return StorageError(Code.STORE_PARTS, f"what was sent for {key!r} is not what was announced", "send it again")
