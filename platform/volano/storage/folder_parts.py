"""Unfinished objects in a local folder: one folder under `.partial` per key, one file per part, named by its content.

A part appears by one link from a finished, synced file. The object is copied from its parts, so that nobody who still
writes a part can touch it.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from volano.errors import Code, StorageError
from volano.storage.content import sha256_bytes
from volano.storage.files import CHUNK_BYTES, open_plain, sync_folder, write_synced
from volano.storage.keys import RESERVED, check_key
from volano.storage.parts import ABANDONED_S, Part, Slot, other_parts

if TYPE_CHECKING:
    from volano.storage.folder import FolderStore

SUFFIX = ".parts"


class FolderParts:
    """`Parts` of a `FolderStore`."""

    def __init__(self, store: "FolderStore") -> None:
        self._store = store

    def open(self, key: str) -> str:
        """The folder of the key's parts, made when absent."""
        upload = sha256_bytes(check_key(key).encode()) + SUFFIX
        folder = self._folder(upload)
        self._store._synced.discard(folder)  # another process may have removed it
        with self._store._translated(key, writing=True):
            self._store._make_folder(folder)
        return upload

    def listed(self, key: str, upload: str) -> dict[int, Part]:
        """The parts that are there, by number."""
        found = {}
        with self._store._translated(key):
            for entry in os.scandir(self._folder(upload)):
                number, _, sha256 = entry.name.partition("-")
                if number.isdecimal() and entry.is_file(follow_symlinks=False):
                    found[int(number)] = Part(size=entry.stat(follow_symlinks=False).st_size, sha256=sha256)
        return found

    def put(self, key: str, upload: str, number: int, data: bytes) -> None:
        """Write one part; another one of this number goes."""
        folder, name = self._folder(upload), f"{number:05d}-{sha256_bytes(data)}"
        partial = folder / f".{secrets.token_hex(16)}"
        if not folder.is_dir():
            raise StorageError(Code.STORE_MISSING, f"the unfinished {key!r} is gone", "begin to send it again")
        with self._store._translated(key, writing=True):
            others = [path for path in folder.glob(f"{number:05d}-*") if path.name != name]
            try:
                write_synced(partial, [data], 0o444)
                os.replace(partial, folder / name)
            finally:
                with suppress(OSError):
                    os.unlink(partial)
            for path in others:
                path.unlink(missing_ok=True)
            sync_folder(folder)

    def close(self, key: str, upload: str, hashes: Sequence[str]) -> None:
        """Make the object of the parts with these SHA-256s unless the key exists."""
        folder = self._folder(upload)
        try:
            found = {number: part.sha256 for number, part in self.listed(key, upload).items()}
            if found == dict(enumerate(hashes, start=1)):
                self._store._put(key, _chunks([folder / f"{number:05d}-{found[number]}" for number in sorted(found)]))
            elif not self._store.exists(key):
                self._remove(folder)
                raise other_parts(key)
        except StorageError as error:
            if error.code is not Code.STORE_MISSING or not self._store.exists(key):
                raise
        self._remove(folder)

    def address(self, slot: Slot, seconds: int) -> None:
        """None: a folder has no door."""
        del slot, seconds

    def remove_abandoned(self, now: float) -> int:
        """Remove what got no part for over a week before `now`."""
        partial, removed = self._store.root / RESERVED, 0
        if partial.is_symlink():
            return 0
        with self._store._translated(RESERVED), suppress(FileNotFoundError):
            for entry in os.scandir(partial):
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False) and entry.stat().st_mtime < now - ABANDONED_S:
                        self._remove(Path(entry.path))
                        removed += 1
        return removed

    def _folder(self, upload: str) -> Path:
        if Path(upload).name != upload or not upload.endswith(SUFFIX):
            raise StorageError(Code.STORE_KEY, f"{upload[:80]!r} names no unfinished object", "open one")
        folder = self._store.root / RESERVED / upload
        if folder.is_symlink():
            raise StorageError(Code.STORE_KEY, f"{upload[:80]!r} is a link that somebody planted", "remove it")
        return folder

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)


def _chunks(parts: Sequence[Path]) -> Iterator[bytes]:
    for path in parts:
        with open_plain(path) as source:
            while piece := source.read(CHUNK_BYTES):
                yield piece
