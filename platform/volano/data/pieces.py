"""A bundle as the pieces that go up one by one: small files whole, large ones in parts, each with its own SHA-256.

What is missing is read from the store alone, so whoever is killed goes on by asking again. Large files of a robot that
has no credentials are put together under a name of its own first, and become a blob only after their bytes were read
back: the hashes of parts say nothing about the whole, and a blob is what its name says, for every robot.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volano.data.episode import FileEntry, Manifest
from volano.errors import Code, DataError, StorageError
from volano.storage.content import sha256_bytes, sha256_file
from volano.storage.parts import PART_BYTES, PartStore, Slot, other_parts

Hashes = Mapping[str, Sequence[str]]
"""Each large file's SHA-256 by part, in order; small files have none."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes [start, start + slot.size) of a bundle's file."""

    name: str
    start: int
    slot: Slot


def blob_key(sha256: str) -> str:
    """Where a file of a bundle is put."""
    return f"blobs/{sha256}"


def is_large(size: int) -> bool:
    """Whether a file goes up in parts."""
    return size > PART_BYTES


def num_parts(size: int) -> int:
    """How many parts a large file has."""
    return -(-size // PART_BYTES)


def start_of(slot: Slot) -> int:
    """Where a slot's bytes begin in their file."""
    return max(slot.number - 1, 0) * PART_BYTES


def verified(bundle: Path, manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The hashes of a bundle's large files, after every file was found to be what its manifest says.

    Raises DataError: E-DATA-006 for a damaged file, E-DATA-008 for one that is gone."""
    found = {}
    for name, entry in sorted(manifest.files.items()):
        path = bundle / name
        if not path.is_file():
            raise DataError(Code.DATA_MISSING_FILE, f"{path} is gone", "the episode is lost; remove its folder")
        whole, parts = _hashes(path)
        if whole != entry.sha256 or path.stat().st_size != entry.size:
            raise DataError(Code.DATA_HASH, f"{path} is damaged", "the episode is lost; check the robot's disk")
        if is_large(entry.size):
            found[name] = parts
    return found


def read_piece(bundle: Path, name: str, start: int, size: int) -> bytes:
    """The bytes of a piece."""
    with (bundle / name).open("rb") as file:
        file.seek(start)
        return file.read(size)


def missing_parts(store: PartStore, key: str, size: int, hashes: Sequence[str]) -> list[Slot]:
    """Parts of a large object that the store lacks or has with another size or hash."""
    upload = store.parts.open(key)
    there = store.parts.listed(key, upload)
    slots = []
    for number, sha256 in enumerate(hashes, start=1):
        length = min(PART_BYTES, size - (number - 1) * PART_BYTES)
        part = there.get(number)
        if part is None or part.size != length or part.sha256 not in {"", sha256}:
            slots.append(Slot(key=key, upload=upload, number=number, size=length, sha256=sha256))
    return slots


def missing(store: PartStore, manifest: Manifest, hashes: Hashes) -> list[Piece]:
    """What a robot without credentials has to send before its upload can be taken. Raises DataError(E-DATA-006) when
    the store has a file of that hash with another size: the manifest does not describe a file."""
    pieces = []
    for name, entry in _absent(store, manifest):
        if not is_large(entry.size):
            slot = Slot(key=blob_key(entry.sha256), upload="", number=0, size=entry.size, sha256=entry.sha256)
            pieces.append(Piece(name=name, start=start_of(slot), slot=slot))
        elif store.size(staging_key(manifest, entry)) is None:
            slots = missing_parts(store, staging_key(manifest, entry), entry.size, hashes[name])
            pieces += [Piece(name=name, start=start_of(slot), slot=slot) for slot in slots]
    return pieces


def settle(store: PartStore, manifest: Manifest, hashes: Hashes) -> None:
    """Make blobs of large files whose parts are all there. Raises StorageError(E-STORE-008) when their bytes are not
    those of the manifest: they are gone then, and have to be sent again."""
    for name, entry in _absent(store, manifest):
        if not is_large(entry.size):
            raise other_parts(blob_key(entry.sha256))
        staged = staging_key(manifest, entry)
        if store.size(staged) is None:
            store.parts.close(staged, store.parts.open(staged), hashes[name])
        _adopt(store, staged, entry)
    for name in hashes:
        store.delete(staging_key(manifest, manifest.files[name]))


def commit(store: PartStore, manifest: Manifest) -> bool:
    """Put the manifest: from here on the upload exists. False when this very upload was there; raises
    DataError(E-DATA-018) when another is."""
    key = manifest.upload_key
    if store.put_new(key, manifest.to_bytes()):
        return True
    require_same(key, store.get(key), manifest)
    return False


def require_same(key: str, there: bytes, manifest: Manifest) -> None:
    """Raise DataError(E-DATA-018) unless what is under an upload's key is this manifest."""
    if there != manifest.to_bytes():
        raise DataError(
            Code.DATA_ATTEMPT,
            f"{key} holds another episode than this attempt of {manifest.robot}",
            "give every attempt of a robot a new name",
        )


def staging_key(manifest: Manifest, entry: FileEntry) -> str:
    """Where a robot's large file is put together: a name that no other robot is given."""
    return f"incoming/{manifest.robot}/{entry.sha256}"


def _absent(store: PartStore, manifest: Manifest) -> list[tuple[str, FileEntry]]:
    """Files that are no blobs yet, one for each content."""
    absent: dict[str, tuple[str, FileEntry]] = {}
    for name, entry in sorted(manifest.files.items()):
        size = store.size(blob_key(entry.sha256))
        if size is not None and size != entry.size:
            raise DataError(
                Code.DATA_HASH, f"{name} cannot have {entry.size} bytes and this SHA-256", "record the episode again"
            )
        if size is None:
            absent.setdefault(entry.sha256, (name, entry))
    return list(absent.values())


def _adopt(store: PartStore, staged: str, entry: FileEntry) -> None:
    """Read a staged file back, and put it under the name of its content if it is that."""
    with tempfile.TemporaryDirectory(prefix="volano-intake-") as scratch:
        path = Path(scratch) / "file"
        try:
            store.get_file(staged, path)
        except StorageError as error:
            if error.code is Code.STORE_MISSING:  # another request of this robot did it, or found it to be wrong
                raise other_parts(staged) from error
            raise
        if sha256_file(path) != entry.sha256:
            store.delete(staged)
            raise other_parts(staged)
        store.put_new_file(blob_key(entry.sha256), path)


def _hashes(path: Path) -> tuple[str, tuple[str, ...]]:
    """SHA-256 of a file and of each of its parts, in one reading."""
    whole, parts = hashlib.sha256(), []
    with path.open("rb") as file:
        while piece := file.read(PART_BYTES):
            whole.update(piece)
            parts.append(sha256_bytes(piece))
    return whole.hexdigest(), tuple(parts)
