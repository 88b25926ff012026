"""Parts of an object: what bulk readers take, who know where in it the bytes stand that they need.

Apart from `ObjectStore`, whose whole objects carry checksums: a part has none, so whoever reads one has to know its
hash. On S3 by Arrow's client, which takes a quarter of the processor time of the other one for each request.
"""

import errno
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs

from volano.errors import Code, StorageError
from volano.storage.files import open_plain
from volano.storage.folder import FolderStore
from volano.storage.keys import check_key
from volano.storage.open import open_store

_OPEN = 64
"""Objects whose place is remembered; to open one on S3 is a request of its own."""
_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_ATTEMPTS, _CONNECT_S, _REQUEST_S = 6, 5.0, 30.0


class Ranges(Protocol):
    """Reads parts of objects, from several threads at once."""

    def read(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises StorageError: E-STORE-006 for no such object, E-STORE-007 for one that
        ends before them, E-STORE-004 for a store that does not answer."""
        ...


def open_ranges(url: str) -> Ranges:
    """The parts of the objects of a store; the URL is one that `open_store` takes."""
    store = open_store(url)
    return _FolderRanges(store.root) if isinstance(store, FolderStore) else _S3Ranges(store.url)


class _FolderRanges:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str, offset: int, size: int) -> bytes:
        path = self._root / check_key(key)
        try:
            for folder in path.relative_to(self._root).parents:
                if folder.parts and (self._root / folder).is_symlink():
                    raise NotADirectoryError(errno.ENOTDIR, f"{folder.name!r} is a link")
            with open_plain(path) as source:
                data = os.pread(source.fileno(), size, offset)
        except OSError as error:
            raise _failed(str(self._root), key, error) from error
        return _whole(key, data, size)


class _S3Ranges:
    def __init__(self, url: str) -> None:
        import boto3

        parts = urlsplit(url)
        scheme, _, host = parse_qs(parts.query).get("endpoint", ["https://"])[0].rpartition("://")
        self._url = url
        self._prefix = f"{parts.netloc}{parts.path.rstrip('/')}/"
        self._files = pyarrow.fs.S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme,
            region=boto3.session.Session().region_name or "us-east-1",  # where the other client looks for it, too
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
        )
        self._open: OrderedDict[str, pa.NativeFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, key: str, offset: int, size: int) -> bytes:
        try:
            data = self._opened(key).read_at(size, offset)
        except OSError as error:
            raise _failed(self._url, key, error) from error
        return _whole(key, data, size)

    def _opened(self, key: str) -> pa.NativeFile:
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        found = self._files.open_input_file(self._prefix + check_key(key))
        with self._lock:
            self._open[key] = found
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)  # closed when the last thread that reads it lets go
        return found


def _whole(key: str, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise StorageError(Code.STORE_CORRUPT, f"{key!r} ends before it should", "restore the object from a backup")
    return data


def _failed(store: str, key: str, error: OSError) -> StorageError:
    if error.errno in _NO_OBJECT:
        return StorageError(Code.STORE_MISSING, f"there is no object {key!r} in {store}", "check with a listing")
    return StorageError(
        Code.STORE_UNAVAILABLE, f"{store} failed on {key!r}: {error}", "check that it can be reached, then repeat"
    )
