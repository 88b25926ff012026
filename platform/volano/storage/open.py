"""From a URL to an object store, and the proof that a store can be trusted with commits."""

import re
import secrets
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from volano.errors import Code, StorageError
from volano.storage.folder import FolderStore
from volano.storage.parts import PartStore
from volano.storage.store import ObjectStore

_CREDENTIALS = re.compile(r"://[^@]*@")


def open_store(url: str) -> PartStore:
    """A folder (`path` or `file:///path`, made when absent) or `s3://bucket/prefix?endpoint=http://host:port`.

    Credentials come from the usual AWS variables. Opening S3 sends nothing; `probe` does. Raises
    StorageError(E-STORE-004) for a URL that names no store or a folder that cannot be made.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return _open_folder(unquote(rest) if separator else url)
    if scheme == "s3":
        return _open_s3(url)
    raise _not_a_store(url, f"the scheme {scheme!r} is not known")


def probe(store: ObjectStore) -> None:
    """Prove that of two writers of one key the second loses and the first's content stays.

    Raises StorageError(E-STORE-002) when the store does not keep that promise.
    """
    key = f"probe/{secrets.token_hex(16)}"
    try:
        if not store.put_new(key, b"first") or store.put_new(key, b"second") or store.get(key) != b"first":
            raise StorageError(
                Code.STORE_CONDITIONAL,
                f"{store.url} let a second writer replace or claim an object: commits there could be lost",
                "use a store with conditional writes (`If-None-Match: *`), or a local folder",
            )
    finally:
        store.delete(key)


def _open_folder(path: str) -> FolderStore:
    root = Path(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_a_store(path, error.strerror or str(error)) from error
    store = FolderStore(root)
    store.remove_abandoned(time.time())
    return store


def _open_s3(url: str) -> PartStore:
    from volano.storage.s3 import S3Store

    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    endpoints = options.pop("endpoint", [""])
    if not parts.netloc or options or len(endpoints) != 1:
        raise _not_a_store(url, "it needs a bucket and knows no option but `endpoint`")
    if "@" in parts.netloc + endpoints[0]:
        raise _not_a_store(url, "credentials belong into the AWS variables, for URLs are shown and logged")
    return S3Store(parts.netloc, parts.path.strip("/"), endpoints[0])


def _not_a_store(url: str, cause: str) -> StorageError:
    return StorageError(
        Code.STORE_UNAVAILABLE,
        f"{_CREDENTIALS.sub('://***@', url)!r} names no object store: {cause}",
        "use a folder or s3://bucket/prefix?endpoint=http://host:port",
    )
