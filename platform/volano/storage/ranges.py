"""Parts of objects: what bulk readers take, who know where in it the bytes stand that they need.

Apart from `ObjectStore`, whose whole objects carry checksums: a part has none, so whoever reads one has to know its
hash. On S3 by obstore, several parts of an object at once: a request of its costs a quarter of the processor time of
Arrow's, and a fifteenth of boto3's, whose credentials it uses.
"""

import errno
import os
from bisect import bisect_right
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from volano.errors import Code, StorageError
from volano.storage.files import open_plain
from volano.storage.folder import FolderStore
from volano.storage.keys import check_key
from volano.storage.open import open_store

if TYPE_CHECKING:
    import obstore.store
    from obstore.store import BackoffConfig, ClientConfig

    from volano.storage.s3 import S3Store

Part = tuple[int, int]
"""First byte of an object, and how many."""
_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_REQUEST_TIME, _RETRYING_TIME = timedelta(seconds=30), timedelta(seconds=90)
_RETRIES = 10
_BACKOFF: "BackoffConfig" = {"init_backoff": timedelta(seconds=0.25), "max_backoff": timedelta(seconds=5), "base": 3}
"""Fifteen to twenty-five seconds in all: a server that is started again ends nothing."""
_CREDENTIALS_TIME = timedelta(minutes=10)
"""Of what boto3 gives, which is good for ten minutes at least; obstore asks for the next five minutes before."""
_CREDENTIALS_FIX = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, their rights, the clock and AWS_CA_BUNDLE"
_BEYOND = "416 Range Not Satisfiable"


class Ranges(Protocol):
    """Reads parts of objects, from several threads at once."""

    def read(self, key: str, parts: Sequence[Part]) -> list[memoryview]:
        """The bytes of each. Raises StorageError: E-STORE-006 for no such object, E-STORE-007 for one that ends before
        them, E-STORE-004 for a store that does not answer."""
        ...


def open_ranges(url: str) -> Ranges:
    """The parts of the objects of a store; the URL is one that `open_store` takes."""
    store = open_store(url)
    return _FolderRanges(store.root) if isinstance(store, FolderStore) else _S3Ranges(cast("S3Store", store))


class _FolderRanges:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str, parts: Sequence[Part]) -> list[memoryview]:
        path = self._root / check_key(key)
        try:
            for folder in path.relative_to(self._root).parents:
                if folder.parts and (self._root / folder).is_symlink():
                    raise NotADirectoryError(errno.ENOTDIR, f"{folder.name!r} is a link")
            with open_plain(path) as source:
                found = [memoryview(os.pread(source.fileno(), size, offset)) for offset, size in parts]
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise _missing(str(self._root), key) from error
            cause = f"{self._root} failed on {key!r}: {error}"
            raise StorageError(Code.STORE_UNAVAILABLE, cause, "check the disk, then repeat") from error
        return _whole(key, found, parts)


class _S3Ranges:
    def __init__(self, store: "S3Store") -> None:
        self._store = store

    def read(self, key: str, parts: Sequence[Part]) -> list[memoryview]:
        from obstore import get_ranges
        from obstore.exceptions import BaseError

        name, joined = self._store.prefix + check_key(key), _joined(parts)
        starts, lengths = [offset for offset, _ in joined], [size for _, size in joined]
        try:
            found = get_ranges(self._bucket, name, starts=starts, lengths=lengths, coalesce=0)
        except (FileNotFoundError, BaseError) as error:
            if _BEYOND in str(error):
                raise _short(key) from error
            raise _refused(self._store, key, error) from error
        pieces = _whole(key, [memoryview(piece) for piece in found], joined)
        return [_cut(part, pieces, starts) for part in parts]

    @cached_property
    def _bucket(self) -> "obstore.store.S3Store":
        """What obstore would take from the environment, where it matters to a read: both clients see one store."""
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store as Bucket

        store = self._store
        options: ClientConfig = {
            "allow_http": store.endpoint.startswith("http://"),
            "allow_invalid_certificates": False,
            "timeout": _REQUEST_TIME,
        }
        try:
            if authorities := os.environ.get("AWS_CA_BUNDLE"):
                options["root_certificate"] = Path(authorities).read_bytes()
            return Bucket(
                store.bucket,
                aws_endpoint_url_s3=store.endpoint,
                region=store.region,
                virtual_hosted_style_request=False,
                skip_signature=False,
                s3_express=False,
                request_payer=False,
                credential_provider=Boto3CredentialProvider(store.session, ttl=_CREDENTIALS_TIME),
                client_options=options,
                retry_config={"max_retries": _RETRIES, "backoff": _BACKOFF, "retry_timeout": _RETRYING_TIME},
            )
        except (OSError, ValueError) as error:
            cause = f"{store.url} cannot be opened for reading: {error}"
            raise StorageError(Code.STORE_UNAVAILABLE, cause, _CREDENTIALS_FIX) from error


def _joined(parts: Sequence[Part]) -> list[Part]:
    """The same bytes in parts of which no two touch, in order: obstore would join those that do by itself, and panic
    where the object ends between them."""
    found: list[Part] = []
    for offset, size in sorted(parts):
        if found and offset <= found[-1][0] + found[-1][1]:
            first, before = found[-1]
            found[-1] = first, max(before, offset + size - first)
        else:
            found.append((offset, size))
    return found


def _cut(part: Part, pieces: Sequence[memoryview], starts: Sequence[int]) -> memoryview:
    """A part out of the piece that holds it."""
    number = bisect_right(starts, part[0]) - 1
    begin = part[0] - starts[number]
    return pieces[number][begin : begin + part[1]]


def _refused(store: "S3Store", key: str, error: Exception) -> StorageError:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    said, _, more = str(error).partition("\n\nDebug source")
    if "<Code>NoSuchBucket</Code>" in said:
        cause = f"the bucket {store.bucket!r} does not exist"
        return StorageError(Code.STORE_BUCKET, cause, "create it, or correct the URL")
    if isinstance(error, FileNotFoundError):
        return _missing(store.url, key)
    fix = "check that it can be reached, then repeat"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        fix = _CREDENTIALS_FIX
    if "InvalidCertificate" in more:
        said, fix = "its certificate is not trusted", "name a file of its authority in AWS_CA_BUNDLE"
    return StorageError(Code.STORE_UNAVAILABLE, f"{store.url} failed on {key!r}: {said}", fix)


def _whole(key: str, found: list[memoryview], parts: Sequence[Part]) -> list[memoryview]:
    if [len(part) for part in found] != [size for _, size in parts]:
        raise _short(key)
    return found


def _short(key: str) -> StorageError:
    return StorageError(Code.STORE_CORRUPT, f"{key!r} ends before it should", "restore the object from a backup")


def _missing(store: str, key: str) -> StorageError:
    return StorageError(Code.STORE_MISSING, f"there is no object {key!r} in {store}", "check with a listing")
