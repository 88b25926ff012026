"""Unfinished objects in S3: multipart uploads whose parts carry SHA-256 checksums that the server verifies.

The bucket itself is the journal of what was sent: a multipart upload is found again by its key. Not every server tells
the checksums of the parts it holds, but each compares them when the object is made.
"""

import base64
import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from volano.errors import Code, StorageError
from volano.storage.parts import ABANDONED_S, Address, Part, Slot, other_parts

if TYPE_CHECKING:
    from volano.storage.s3 import S3Store

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5
_BACKOFF_S = 0.2
_GONE = {"NoSuchUpload"}
_LOST = {"PreconditionFailed", "412", *_GONE}
"""The object is there, perhaps by an earlier try of this very call."""
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_OTHER = {"BadDigest", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"}
"""The parts are not those that the object is to be made of."""


class S3Parts:
    """`Parts` of an `S3Store`, by its client."""

    def __init__(self, store: "S3Store") -> None:
        self._store = store

    def open(self, key: str) -> str:
        """The oldest multipart upload of the key, else a new one."""
        begun = [(when, upload) for name, upload, when in self._begun(key) if name == key]
        if begun:
            return min(begun)[1]
        with self._store._translated(key):
            return self._store._client.create_multipart_upload(**self._target(key), ChecksumAlgorithm="SHA256")[
                "UploadId"
            ]

    def listed(self, key: str, upload: str) -> dict[int, Part]:
        """The parts that are there, by number."""
        return {
            number: Part(size=entry["Size"], sha256=_hex(entry.get("ChecksumSHA256", "")))
            for number, entry in self._entries(key, upload).items()
        }

    def put(self, key: str, upload: str, number: int, data: bytes) -> None:
        """Write one part."""
        with self._store._translated(key):
            self._store._client.upload_part(
                **self._target(key),
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
            )

    def close(self, key: str, upload: str, hashes: Sequence[str]) -> None:
        """Make the object of the parts with these SHA-256s unless the key exists."""
        try:
            entries = self._entries(key, upload)
        except StorageError as error:
            if error.code is Code.STORE_MISSING and self._store.exists(key):
                return
            raise
        if sorted(entries) != list(range(1, len(hashes) + 1)):
            self._abort(key, upload)
            raise other_parts(key)
        parts: Any = [
            {"PartNumber": number, "ETag": entries[number]["ETag"], "ChecksumSHA256": _base64(sha256)}
            for number, sha256 in enumerate(hashes, start=1)
        ]
        self._complete(key, upload, parts)

    def address(self, slot: Slot, seconds: int) -> Address:
        """A presigned PUT, with the slot's size and checksum in what is signed."""
        headers = {"x-amz-checksum-sha256": _base64(slot.sha256)}
        bound: dict[str, Any] = {
            **self._target(slot.key),
            "ContentLength": slot.size,
            "ChecksumSHA256": headers["x-amz-checksum-sha256"],
        }
        if slot.number:
            bound |= {"UploadId": slot.upload, "PartNumber": slot.number}
        else:
            bound |= {"IfNoneMatch": "*"}
            headers |= {"If-None-Match": "*"}
        operation = "upload_part" if slot.number else "put_object"
        with self._store._translated(slot.key):
            url = self._store._client.generate_presigned_url(operation, Params=bound, ExpiresIn=seconds)
        return Address(url=url, headers=headers)

    def remove_abandoned(self, now: float) -> int:
        """Abort the multipart uploads of this store that were begun over a week before `now`."""
        old = [(key, upload) for key, upload, when in self._begun("") if when.timestamp() < now - ABANDONED_S]
        for key, upload in old:
            self._abort(key, upload)
        return len(old)

    def _complete(self, key: str, upload: str, parts: Any) -> None:
        for attempt in range(_ATTEMPTS):
            with self._store._translated(key):
                try:
                    self._store._client.complete_multipart_upload(
                        **self._target(key), UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                    )
                except ClientError as error:
                    codes = codes_of(error)
                    if codes & _LOST and self._store.exists(key):
                        self._abort(key, upload)
                        return
                    if codes & _OTHER:
                        self._abort(key, upload)
                        raise other_parts(key) from error
                    if not codes & (_CONFLICT | _LOST) or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return
            time.sleep(_BACKOFF_S * 2**attempt)

    def _abort(self, key: str, upload: str) -> None:
        with self._store._translated(key):
            try:
                self._store._client.abort_multipart_upload(**self._target(key), UploadId=upload)
            except ClientError as error:
                if not codes_of(error) & (_GONE | {"404"}):
                    raise

    def _begun(self, prefix: str) -> list[tuple[str, str, datetime]]:
        """Key, identifier and time of the multipart uploads whose key starts with a prefix."""
        start = self._store.prefix
        found = []
        with self._store._translated(prefix):
            paginator = self._store._client.get_paginator("list_multipart_uploads")
            for page in paginator.paginate(Bucket=self._store.bucket, Prefix=start + prefix):
                found += [
                    (entry["Key"].removeprefix(start), entry["UploadId"], entry["Initiated"])
                    for entry in page.get("Uploads", [])
                ]
        return found

    def _entries(self, key: str, upload: str) -> dict[int, Any]:
        found: dict[int, Any] = {}
        with self._store._translated(key):
            try:
                for page in self._store._client.get_paginator("list_parts").paginate(
                    **self._target(key), UploadId=upload
                ):
                    found.update((entry["PartNumber"], entry) for entry in page.get("Parts", []))
            except ClientError as error:
                if codes_of(error) & _GONE:
                    raise StorageError(
                        Code.STORE_MISSING, f"the unfinished {key!r} is gone", "begin to send it again"
                    ) from error
                raise
        return found

    def _target(self, key: str) -> Any:
        return {"Bucket": self._store.bucket, "Key": self._store._name(key)}


def codes_of(error: ClientError) -> set[str]:
    """What a server's refusal is called: its code, and the status."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return {str(error.response.get("Error", {}).get("Code", "")), str(status)}


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _hex(checksum: str) -> str:
    return base64.b64decode(checksum).hex()
