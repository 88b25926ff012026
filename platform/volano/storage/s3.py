"""An object store in an S3 bucket: any server that honours `If-None-Match: *`, which `probe` proves.

Uploads carry SHA-256 checksums that the server verifies; downloads are verified by the client and repeated when cut
short. Each writer marks its object, so a put whose first answer was lost on the network still knows that it won. An
operation that ends in E-STORE-004 may have taken effect.
"""

import base64
import hashlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    NoCredentialsError,
    PartialCredentialsError,
)

from volano.errors import Code, StorageError
from volano.storage.files import CHUNK_BYTES, replace_file
from volano.storage.keys import check_key, check_prefix, is_key
from volano.storage.s3_parts import S3Parts, codes_of
from volano.storage.store import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5
_BACKOFF_S = 0.1
_WHOLE_BYTES = 1 << 30
"""Files up to this size go up in one put; S3 takes 5 GiB."""
_PART_BYTES = 64 << 20
"""Larger ones go up in parts of this size; S3 takes 10,000 of them."""
_WRITER = "volano-writer"
_LOST = {"PreconditionFailed", "412", "NoSuchUpload"}
"""Another writer won, or an earlier try of this one did."""
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_NO_BUCKET = {"NoSuchBucket"}
_NO_OBJECT = {"NoSuchKey", "NotFound", "404"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "507"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "401", "403"}


class _Interrupted(StorageError):
    """A download that began and did not arrive whole; it can be repeated."""


class S3Store:
    """`ObjectStore` under `prefix` in a bucket; credentials and region come from the usual AWS variables."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str = "") -> None:
        self.bucket = bucket
        self.prefix = f"{check_key(prefix)}/" if prefix else ""
        """Of every key."""
        query = f"?{urlencode({'endpoint': endpoint}, safe=':/')}" if endpoint else ""
        self.url = f"s3://{bucket}{'/' if prefix else ''}{prefix}{query}"
        self.session = boto3.session.Session()
        """Whose credentials are used."""
        self._client: S3Client = self.session.client("s3", endpoint_url=endpoint or None, config=_client_config())
        self.endpoint, self.region = self._client.meta.endpoint_url, self._client.meta.region_name
        """As boto3 made them out of the URL and the usual variables."""
        self.parts = S3Parts(self)
        """Its unfinished objects."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True for the one writer that wins."""
        return self._put_once(key, data, hashlib.sha256(data).digest())

    def put_new_file(self, key: str, path: Path) -> bool:
        """`put_new` of a file's content, streamed; an unreadable source raises its own OSError.

        Above 1 GiB the last step of a multipart upload decides, which not every server makes atomic: of writers that
        finish at the same moment, each may be told that it won. Such keys name their content, so nothing is lost.
        """
        check_key(key)
        with path.open("rb") as source:
            if path.stat().st_size > _WHOLE_BYTES:
                return not self.exists(key) and self._put_parts(key, source)
            checksum = hashlib.file_digest(source, "sha256").digest()
            source.seek(0)
            return self._put_once(key, source, checksum)

    def get(self, key: str) -> bytes:
        """The whole object."""
        return self._repeated(lambda: b"".join(self._chunks(key)))

    def get_file(self, key: str, path: Path) -> None:
        """Write the whole object to a file, atomically."""
        self._repeated(lambda: replace_file(path, self._chunks(key)))

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._head(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none."""
        head = self._head(key)
        return None if head is None else head["ContentLength"]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, in key order: sorted here, since not every server does. Markers of
        folders and other names that are no keys are left out."""
        check_prefix(prefix)
        found: dict[str, int] = {}
        with self._translated(prefix):
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                found.update((entry["Key"][len(self.prefix) :], entry["Size"]) for entry in page.get("Contents", []))
        for key in sorted(filter(is_key, found)):
            yield ObjectInfo(key=key, size=found[key])

    def delete(self, key: str) -> None:
        """Remove; absent is not an error."""
        with self._translated(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def _put_once(self, key: str, body: "bytes | BinaryIO", checksum: bytes) -> bool:
        writer = secrets.token_hex(16)

        def send() -> None:
            if not isinstance(body, bytes):
                body.seek(0)
            self._client.put_object(
                Bucket=self.bucket,
                Key=self._name(key),
                Body=body,
                IfNoneMatch="*",
                ChecksumSHA256=base64.b64encode(checksum).decode(),
                Metadata={_WRITER: writer},
            )

        return self._win(key, writer, send)

    def _put_parts(self, key: str, source: BinaryIO) -> bool:
        """Upload in parts that become the object in one conditional step, or are thrown away."""
        writer = secrets.token_hex(16)
        target: dict[str, Any] = {"Bucket": self.bucket, "Key": self._name(key)}
        with self._translated(key):
            begun = self._client.create_multipart_upload(
                **target, ChecksumAlgorithm="SHA256", Metadata={_WRITER: writer}
            )
        target["UploadId"] = begun["UploadId"]
        won = False
        try:
            parts: list[dict[str, Any]] = []
            while piece := source.read(_PART_BYTES):
                checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
                number = len(parts) + 1
                with self._translated(key):
                    sent = self._client.upload_part(**target, PartNumber=number, Body=piece, ChecksumSHA256=checksum)
                parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": checksum})
            finish = {**target, "MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
            won = self._win(key, writer, lambda: self._client.complete_multipart_upload(**finish))
        finally:
            if not won:
                self._abort(target)
        return won

    def _abort(self, target: dict[str, Any]) -> None:
        try:
            self._client.abort_multipart_upload(**target)
        except (BotoCoreError, ClientError) as error:
            _LOG.warning("parts of %s stay in the bucket until its lifecycle rule removes them: %s", target, error)

    def _win(self, key: str, writer: str, send: Callable[[], object]) -> bool:
        """Send a conditional write; whether the object there afterwards is this writer's."""
        for attempt in range(_ATTEMPTS):
            with self._translated(key):
                try:
                    send()
                except ClientError as error:
                    codes = codes_of(error)
                    if codes & _LOST and (found := self._writer(key)) is not None:
                        return found == writer
                    if not codes & (_LOST | _CONFLICT) or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return True
            _pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _writer(self, key: str) -> str | None:
        """The mark of the object's writer, empty when it has none; None when there is no object."""
        head = self._head(key)
        return None if head is None else head["Metadata"].get(_WRITER, "")

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        """What the server says of an object; None when there is none."""
        with self._translated(key):
            try:
                return self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            except ClientError as error:
                if not codes_of(error) & _NO_OBJECT:
                    raise
                self._client.head_bucket(Bucket=self.bucket)  # a HEAD does not say which of the two is missing
                return None

    def _chunks(self, key: str) -> Iterator[bytes]:
        with self._translated(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._name(key), ChecksumMode="ENABLED")
        try:
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)
        except FlexibleChecksumError as error:
            raise _Interrupted(
                Code.STORE_CORRUPT, f"{key!r} does not have its checksum: {error}", "restore the object from a backup"
            ) from error
        except BotoCoreError as error:
            raise _Interrupted(*_unavailable(self.url, key, error)) from error

    def _repeated(self, read: Callable[[], Result]) -> Result:
        for attempt in range(_ATTEMPTS - 1):
            try:
                return read()
            except _Interrupted as error:
                _LOG.info("reading again: %s", error.cause)
            _pause(attempt)
        return read()

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise _translation(self, key, error) from error
        except BotoCoreError as error:
            raise StorageError(*_unavailable(self.url, key, error)) from error


def _client_config() -> Config:
    return Config(
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 4},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=16,
    )


def _pause(attempt: int) -> None:
    time.sleep(_BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5))


def _translation(store: S3Store, key: str, error: ClientError) -> StorageError:
    codes = codes_of(error)
    if codes & _NO_BUCKET or (error.operation_name == "HeadBucket" and codes & _NO_OBJECT):
        return StorageError(
            Code.STORE_BUCKET, f"the bucket {store.bucket!r} does not exist", "create it, or correct the URL"
        )
    if codes & _FULL:
        return StorageError(Code.STORE_FULL, f"no room for {key!r} in {store.url}: {error}", "add space, then repeat")
    if codes & _DENIED:
        fix = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, their rights and the clock"
        return StorageError(Code.STORE_UNAVAILABLE, f"{store.url} refused {key!r}: {error}", fix)
    if codes & _NO_OBJECT:
        return StorageError(Code.STORE_MISSING, f"there is no object {key!r} in {store.url}", "check with a listing")
    return StorageError(*_unavailable(store.url, key, error))


def _unavailable(url: str, key: str, error: Exception) -> tuple[Code, str, str]:
    fix = "check that the server runs and is reachable, then repeat"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return Code.STORE_UNAVAILABLE, f"{url} failed on {key!r}: {error}", fix
