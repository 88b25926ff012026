"""Parts of objects: what bulk readers take, who know where in it the bytes stand that they need.

Apart from `ObjectStore`, whose whole objects carry checksums: a part has none, so whoever reads one has to know its
hash. On S3 by obstore, several parts of an object at once: a request of its costs a quarter of the processor time of
Arrow's, and a fifteenth of boto3's, whose credentials it uses.
"""

import errno
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from volano.errors import Code, StorageError
from volano.storage.files import open_plain
from volano.storage.folder import FolderStore
from volano.storage.keys import check_key
from volano.storage.open import open_store

if TYPE_CHECKING:
    from obstore.store import ClientConfig

    from volano.storage.s3 import S3Store

Part = tuple[int, int]
"""First byte of an object, and how many."""
_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_RETRIES, _REQUEST_TIME, _RETRYING_TIME = 5, timedelta(seconds=30), timedelta(seconds=90)
_CREDENTIALS_TIME = timedelta(minutes=5)
"""How long credentials are used before boto3 is asked again, which renews them ten minutes before they end."""
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
            raise _failed(str(self._root), key, error, error.errno in _NO_OBJECT) from error
        return _whole(key, found, parts)


class _S3Ranges:
    def __init__(self, store: "S3Store") -> None:
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store as Bucket

        options: ClientConfig = {"allow_http": store.endpoint.startswith("http://"), "timeout": _REQUEST_TIME}
        if authorities := os.environ.get("AWS_CA_BUNDLE"):  # as boto3 does
            options["root_certificate"] = Path(authorities).read_bytes()
        try:
            credentials = Boto3CredentialProvider(store.session, ttl=_CREDENTIALS_TIME)
        except ValueError as error:
            fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise StorageError(Code.STORE_UNAVAILABLE, f"there are no credentials for {store.url}", fix) from error
        self._url, self._prefix = store.url, store.prefix
        self._bucket = Bucket(
            store.bucket,
            endpoint=store.endpoint,
            region=store.region,
            credential_provider=credentials,
            client_options=options,
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRYING_TIME},
        )

    def read(self, key: str, parts: Sequence[Part]) -> list[memoryview]:
        from obstore import get_ranges
        from obstore.exceptions import BaseError

        name = self._prefix + check_key(key)
        starts, lengths = [offset for offset, _ in parts], [size for _, size in parts]
        try:
            found = get_ranges(self._bucket, name, starts=starts, lengths=lengths, coalesce=0)
        except FileNotFoundError as error:
            raise _failed(self._url, key, error, True) from error
        except BaseError as error:
            if _BEYOND in str(error):
                return _whole(key, [], parts)
            raise _failed(self._url, key, error, False) from error
        return _whole(key, [memoryview(part) for part in found], parts)


def _whole(key: str, found: list[memoryview], parts: Sequence[Part]) -> list[memoryview]:
    if [len(part) for part in found] != [size for _, size in parts]:
        raise StorageError(Code.STORE_CORRUPT, f"{key!r} ends before it should", "restore the object from a backup")
    return found


def _failed(store: str, key: str, error: Exception, is_missing: bool) -> StorageError:
    if is_missing:
        return StorageError(Code.STORE_MISSING, f"there is no object {key!r} in {store}", "check with a listing")
    said, _, more = str(error).partition("\n\nDebug source")
    fix = "check that it can be reached, then repeat"
    if "InvalidCertificate" in more:
        said, fix = "its certificate is not trusted", "name a file of its authority in AWS_CA_BUNDLE"
    return StorageError(Code.STORE_UNAVAILABLE, f"{store} failed on {key!r}: {said}", fix)
