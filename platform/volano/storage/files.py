"""Files that are whole or absent: the system calls under the folder store and under every download.

What returned is on the disk. Errors on the way are the plain OSError, except in `replace_file`, whose target belongs
to the caller and not to a store.
"""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from volano.errors import Code, StorageError, SystemMissingError

CHUNK_BYTES = 1 << 20
_LOCK_LOOK_S = 0.1
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""How a system says that there is no room."""


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading; raises OSError for a link, a folder, and for what would block or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, "not a plain file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def write_synced(path: Path, chunks: Iterable[bytes | memoryview], mode: int) -> None:
    """Write a file that must not exist yet, through to the disk. Its entry in the folder is not synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Hand all of it to the system, which may take a part at a time; nothing is synced."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_once(path: Path, data: bytes, mode: int) -> None:
    """Write a small file unless there is one: it appears whole, through to the disk, and of several writers one
    wins."""
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    try:
        write_synced(partial, [data], mode)
        with suppress(FileExistsError):
            os.link(partial, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            os.unlink(partial)


def sync_file(path: Path) -> None:
    """Make what others wrote into a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write or replace a file in one step, its folder's entry included; raises StorageError E-STORE-003 when full, else
    E-STORE-004."""
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    try:
        write_synced(partial, chunks, 0o644)
        os.replace(partial, path)
        sync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            os.unlink(partial)


def cannot_write(path: Path, error: OSError) -> StorageError:
    """What the system said, as E-STORE-003 when there is no room, else E-STORE-004."""
    code = Code.STORE_FULL if error.errno in FULL else Code.STORE_UNAVAILABLE
    reason = error.strerror or str(error)
    return StorageError(code, f"cannot write {path}: {reason}", "make the folder writable or free space")


def wait_for_lock(file: BinaryIO, patience_s: float) -> None:
    """Hold the exclusive lock of an open file until it is closed. Raises SystemMissingError(E-SYSTEM-004) when another
    process holds it for all of `patience_s`."""
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise SystemMissingError(
                    Code.SYSTEM_OCCUPIED,
                    f"another process has held {file.name} for {patience_s:.0f} s",
                    "end that process, or wait for it, and run this again",
                ) from error
            time.sleep(_LOCK_LOOK_S)
        else:
            return
