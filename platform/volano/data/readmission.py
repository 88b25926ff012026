"""The record of a person who overruled a finding: its key, and which of them took effect.

A verdict is never rewritten. The readmission stands beside it, written first; the claim of the content comes last and
is the commit. A readmission without the claim has no effect, and repeating the command finishes it.
"""

from dataclasses import asdict, dataclass
from typing import Self

from volano.data.text import strict_object
from volano.data.verdict import UPLOADS, owner
from volano.errors import Code, DataError
from volano.storage.content import canonical_json
from volano.storage.store import ObjectStore

READMISSIONS = "readmissions/"


@dataclass(frozen=True, kw_only=True)
class Readmission:
    """Who let an upload in, when and why, against which findings."""

    upload: str
    content_id: str
    codes: tuple[str, ...]
    """The verdict's first, then those that the person overruled with it."""
    reason: str
    by: str
    at: float
    """Unix time in seconds."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`; raises DataError(E-DATA-014)."""
        try:
            plain = strict_object(data)
            found = cls(**{**plain, "codes": tuple(plain["codes"])})
            texts = (found.upload, found.content_id, found.reason, found.by, *found.codes)
            if not all(isinstance(text, str) for text in texts) or type(found.at) not in (int, float):
                raise ValueError("a field is of another kind")
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(Code.DATA_MANIFEST, f"not a readmission: {error}", "restore the object") from error
        return found


def readmission_key(upload: str) -> str:
    """Key of an upload's readmission."""
    return READMISSIONS + upload.removeprefix(UPLOADS)


def readmissions(store: ObjectStore) -> dict[str, Readmission]:
    """Upload to readmission of those that took effect: each owns its content."""
    found = [Readmission.from_bytes(store.get(info.key)) for info in store.list(READMISSIONS)]
    return {one.upload: one for one in found if owner(store, one.content_id) == one.upload}
