"""Where an upload's fate is written, and how: the keys of uploads, claims and verdicts, and the verdict record.

Acceptance is committed by the claim `episodes/<content_id>.json`: of all uploads with one content exactly one owns
it. The verdict follows, and a kill between the two is healed by reading the claim first.
"""

from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

from volano.data.text import strict_object
from volano.errors import Code, DataError, StorageError
from volano.storage.content import canonical_json
from volano.storage.keys import is_key
from volano.storage.store import ObjectStore

UPLOADS = "uploads/"
VERDICTS = "verdicts/"
CLAIMS = "episodes/"
Outcome = Literal["accepted", "quarantined", "rejected"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of an upload."""

    upload: str
    content_id: str
    """Empty when the manifest could not be read."""
    verdict: Outcome
    code: str
    """Empty when accepted."""
    evidence: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`; raises DataError(E-DATA-014)."""
        try:
            verdict = cls(**strict_object(data))
            if not all(isinstance(text, str) for text in asdict(verdict).values()):
                raise ValueError("a field is no text")
            if verdict.verdict not in get_args(Outcome):
                raise ValueError(f"verdict {verdict.verdict!r} is unknown")
        except (TypeError, ValueError) as error:
            raise DataError(Code.DATA_MANIFEST, f"not a verdict: {error}", "restore the object") from error
        return verdict


def verdict_key(upload: str) -> str:
    """Key of an upload's verdict."""
    return VERDICTS + upload.removeprefix(UPLOADS)


def upload_key(name: str) -> str:
    """Key of an upload, from itself or from `ROBOT/ATTEMPT`; raises DataError(E-DATA-072) for neither."""
    key = name if name.startswith(UPLOADS) else f"{UPLOADS}{name.removesuffix('.json')}.json"
    if not is_key(verdict_key(key)):
        raise DataError(Code.DATA_UNKNOWN, f"{name!r} names no upload", "give ROBOT/ATTEMPT, or the upload's key")
    return key


def verdict_of(store: ObjectStore, upload: str) -> Verdict | None:
    """An upload's verdict; None while it is in flight. Raises DataError(E-DATA-072) when there is no such upload."""
    key = verdict_key(upload)
    if store.exists(key):
        return Verdict.from_bytes(store.get(key))
    if not store.exists(upload):
        cause = f"there is no upload {upload} in {store.url}"
        raise DataError(Code.DATA_UNKNOWN, cause, "look at the names: volano data ls, volano data quarantine ls")
    return None


def claim_key(content_id: str) -> str:
    """Key of the claim on a content."""
    return f"{CLAIMS}{content_id}.json"


def claim(store: ObjectStore, content_id: str, upload: str) -> str:
    """Claim a content for an upload unless it is claimed; returns the upload that owns it."""
    if store.put_new(claim_key(content_id), canonical_json({"upload": upload})):
        return upload
    return owner(store, content_id)


def owner(store: ObjectStore, content_id: str) -> str:
    """The upload that owns a content; empty when none does. Raises StorageError(E-STORE-007) when the claim cannot be
    read."""
    key = claim_key(content_id)
    if not store.exists(key):
        return ""
    try:
        upload = strict_object(store.get(key)).get("upload")
    except ValueError:
        upload = None
    if not isinstance(upload, str) or not upload:
        raise StorageError(Code.STORE_CORRUPT, f"{key} is no claim", "restore the object")
    return upload


def uploads(store: ObjectStore) -> list[str]:
    """Keys of all uploads, in order. A key so long that no verdict could stand beside it is no upload."""
    return [info.key for info in store.list(UPLOADS) if is_key(verdict_key(info.key))]


def pending(store: ObjectStore) -> list[str]:
    """Keys of uploads without a verdict, in order."""
    judged = {info.key.removeprefix(VERDICTS) for info in store.list(VERDICTS)}
    return [key for key in uploads(store) if key.removeprefix(UPLOADS) not in judged]
