"""An object store in a local folder: what a laptop and the tests use, and a mounted volume can.

An object appears by one hard link from a finished, synced file: whoever links first wins, in any number of processes,
and a kill or power cut at any moment leaves nothing or the whole object. Unfinished files stand under `.partial`,
which no key can name; those a dead writer left there are removed after a day. Unlike on S3, a key cannot be an object
and a prefix of others at once (E-STORE-005). Whoever shares the folder may plant links, pipes and odd names in it:
below the root only plain files and folders with names that a key can have are seen, and no link is followed.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from volano.errors import Code, StorageError
from volano.storage.files import CHUNK_BYTES, FULL, open_plain, replace_file, sync_folder, write_synced
from volano.storage.folder_parts import FolderParts
from volano.storage.keys import RESERVED, check_key, check_prefix, is_key
from volano.storage.store import ObjectInfo

_ABANDONED_S = 24 * 3600.0
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
_CLASH = {errno.ENOTDIR, errno.EISDIR}
_NOT_AN_OBJECT = {*_CLASH, errno.ENOENT, errno.ELOOP}


class FolderStore:
    """`ObjectStore` in an existing folder, one read-only file per object."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(self.root)
        self._synced: set[Path] = set()
        """Folders whose own entry this process has made durable."""
        self.parts = FolderParts(self)
        """Its unfinished objects."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True for the one writer that wins."""
        view = memoryview(data)
        return self._put(key, (view[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)))

    def put_new_file(self, key: str, path: Path) -> bool:
        """`put_new` of a file's content; an unreadable source raises its own OSError."""
        with path.open("rb") as source:
            return self._put(key, iter(lambda: source.read(CHUNK_BYTES), b""))

    def get(self, key: str) -> bytes:
        """The whole object."""
        with self._translated(key), open_plain(self._path(key)) as source:
            return source.read()

    def get_file(self, key: str, path: Path) -> None:
        """Write the whole object to a file, atomically."""
        with self._translated(key), open_plain(self._path(key)) as source:
            replace_file(path, iter(lambda: source.read(CHUNK_BYTES), b""))

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none."""
        check_key(key)
        with self._translated(key):
            self._require_root()
            with suppress(FileNotFoundError, NotADirectoryError):
                found = self._path(key).lstat()
                return found.st_size if stat.S_ISREG(found.st_mode) else None
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, in key order."""
        folder, _, _ = check_prefix(prefix).rpartition("/")
        with self._translated(prefix):
            self._require_root()
        yield from self._walk(f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        """Remove; absent is not an error."""
        check_key(key)
        with self._translated(key):
            self._require_root()
            with suppress(FileNotFoundError, NotADirectoryError):
                target = self._path(key)
                target.unlink()
                sync_folder(target.parent)

    def remove_abandoned(self, now: float) -> None:
        """Remove unfinished files whose last write was over a day before `now` (Unix time in seconds), and parts after
        a week."""
        partial = self.root / RESERVED
        if partial.is_symlink():
            return
        with self._translated(RESERVED), suppress(FileNotFoundError):
            for entry in os.scandir(partial):
                with suppress(FileNotFoundError):
                    old = entry.stat(follow_symlinks=False).st_mtime < now - _ABANDONED_S
                    if old and not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
        self.parts.remove_abandoned(now)

    def _put(self, key: str, chunks: Iterable[bytes | memoryview]) -> bool:
        check_key(key)
        with self._translated(key, writing=True):
            target = self._path(key)
            self._make_folder(target.parent)
            won = not _is_plain(target) and self._publish(target, chunks)
            # The loser syncs too: what it is told is there must survive a power cut, whatever the winner got to.
            sync_folder(target.parent)
            return won

    def _publish(self, target: Path, chunks: Iterable[bytes | memoryview]) -> bool:
        self._make_folder(self.root / RESERVED)
        partial = self.root / RESERVED / secrets.token_hex(16)
        try:
            write_synced(partial, chunks, 0o444)
            os.link(partial, target)
        except FileExistsError:
            if not _is_plain(target):
                raise IsADirectoryError(errno.EISDIR, "a folder, or what is no plain file, has this name") from None
            return False
        finally:
            with suppress(OSError):
                os.unlink(partial)
        return True

    def _make_folder(self, folder: Path) -> None:
        """Make a folder under the root and every entry on the way to it durable."""
        self._require_root()
        missing = [folder, *folder.parents]
        for step in reversed(missing[: missing.index(self.root)]):
            if step not in self._synced:
                with suppress(FileExistsError):
                    os.mkdir(step)
                if step.is_symlink():
                    raise NotADirectoryError(errno.ENOTDIR, f"{step.name!r} is a link")
                sync_folder(step.parent)
                self._synced.add(step)

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with self._translated(prefix):
                entries = list(os.scandir(self.root / folder))
        except StorageError as error:
            if error.code is Code.STORE_MISSING:
                return
            raise
        # By the prefix first: whoever asks for one object among thousands must not pay for each.
        wanted = [entry for entry in entries if _leads_to(folder + entry.name, prefix)]
        known = [entry for entry in wanted if is_key(folder + entry.name)]
        folders = [f"{entry.name}/" for entry in known if entry.is_dir(follow_symlinks=False)]
        files = [entry.name for entry in known if entry.is_file(follow_symlinks=False)]
        # A folder sorts as its keys do, with the slash: "a-b" < "a.b" < "a/b".
        for name in sorted([*folders, *files]):
            key = folder + name
            if name.endswith("/"):
                if key != f"{RESERVED}/":
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                with suppress(FileNotFoundError):
                    yield ObjectInfo(key=key, size=(self.root / key).lstat().st_size)

    def _path(self, key: str) -> Path:
        """Where an object stands or would stand; raises NotADirectoryError when a link is on the way."""
        path = self.root / check_key(key)
        above = list(path.parents)
        for step in above[: above.index(self.root)]:
            if step.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, f"{step.name!r} is a link")
        return path

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise StorageError(
                Code.STORE_BUCKET, f"the folder {self.root} does not exist", "create or mount it, or correct the URL"
            )

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            if error.errno in _NOT_AN_OBJECT:
                self._require_root()
            raise _translation(key, self.root, error, writing=writing) from error


def _leads_to(path: str, prefix: str) -> bool:
    """Whether a file or folder of this path is, or may hold, an object whose key starts with the prefix."""
    return path.startswith(prefix) or prefix.startswith(f"{path}/")


def _is_plain(path: Path) -> bool:
    """Whether a plain file stands there; a link to one is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _translation(key: str, root: Path, error: OSError, *, writing: bool) -> StorageError:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return StorageError(Code.STORE_FULL, f"no room for {key!r} in {root}: {reason}", "free space, then repeat")
    if error.errno in _NO_LINKS:
        return StorageError(
            Code.STORE_CONDITIONAL,
            f"the file system of {root} refused the hard link that commits {key!r}: {reason}",
            "use one file system with hard links, or an S3 store",
        )
    if error.errno in _NOT_AN_OBJECT and not writing:
        return StorageError(Code.STORE_MISSING, f"there is no object {key!r} in {root}", "check the key with a listing")
    if error.errno in _CLASH:
        return StorageError(
            Code.STORE_KEY,
            f"the key {key!r} meets another in {root}: one is an object, the other needs a folder of that name",
            "choose keys of which none continues another after a slash",
        )
    return StorageError(Code.STORE_UNAVAILABLE, f"{root} failed on {key!r}: {reason}", "check the disk, then repeat")
