"""The record of episodes that no version may hold any more, and which uploads a person means.

A recall is an object of its own, named by what it takes back and why: the same recall is written once. It is final: the
bytes stay, and no later version holds them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Self

from volano.data.episode import Manifest
from volano.data.judge import read_manifest
from volano.data.text import strict_object
from volano.data.verdict import UPLOADS, uploads, verdict_of
from volano.data.version import DatasetVersion
from volano.errors import Code, DataError, StorageError
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.store import ObjectStore

RECALLS = "recalls/"


@dataclass(frozen=True, kw_only=True)
class Recall:
    """What is taken back, why, by whom and when."""

    contents: tuple[str, ...]
    """Content identifiers in order."""
    reason: str
    by: str
    at: float
    """Unix time in seconds."""

    @cached_property
    def id(self) -> str:
        """SHA-256 of contents and reason."""
        return sha256_bytes(canonical_json({"contents": self.contents, "reason": self.reason}))

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`; raises ValueError, TypeError or KeyError."""
        plain = strict_object(data)
        found = cls(**{**plain, "contents": tuple(plain["contents"])})
        if not all(isinstance(text, str) for text in (*found.contents, found.reason, found.by)):
            raise ValueError("a field is no text")
        return found


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which uploads a person means: those that every given condition holds for."""

    robot: str = ""
    """Empty for any."""
    since: float = float("-inf")
    """Unix time in seconds by the robot's clock, included."""
    until: float = float("inf")
    """Not included."""
    uploads: frozenset[str] = frozenset()
    """Keys; empty for any."""

    def picks(self, manifest: Manifest) -> bool:
        """Whether an upload of this robot and time is meant."""
        return self.robot in {"", manifest.robot} and self.since <= manifest.started_at < self.until


def recall_key(recall_id: str) -> str:
    """Key of a recall."""
    return f"{RECALLS}{recall_id}.json"


def recalls(store: ObjectStore) -> list[Recall]:
    """Every recall, in order of its identifier; raises StorageError(E-STORE-007) for one that is not what its name
    says."""
    return [_read(store, info.key) for info in store.list(RECALLS)]


def recalled(store: ObjectStore) -> frozenset[str]:
    """Contents that no version may hold any more."""
    return contents(recalls(store))


def contents(found: Iterable[Recall]) -> frozenset[str]:
    """What recalls take back together."""
    return frozenset(content for one in found for content in one.contents)


def refuse_recalled(store: ObjectStore, version: DatasetVersion) -> None:
    """Raises DataError(E-DATA-071) when a version holds what was recalled since."""
    gone = recalled(store)
    held = [episode.content_id for episode in version.episodes if episode.content_id in gone]
    if held:
        raise DataError(
            Code.DATA_RECALL,
            f"version {version.id[:12]} holds {len(held)} episodes that were recalled, the first {held[0][:12]}",
            "take the version made without them (volano data versions); to reproduce an old run, train --with-recalled",
        )


def matching(store: ObjectStore, selection: Selection) -> Iterator[tuple[str, str]]:
    """Upload and content of what is meant, in order of the upload: what is accepted, in quarantine or in flight, and
    what was rejected where it is named. Whoever writes under another's name takes nothing of theirs back. Raises
    DataError: E-DATA-071 when every upload is meant, E-DATA-072 when a named one does not exist."""
    if selection == Selection():
        raise DataError(Code.DATA_RECALL, "a recall of everything", "name a robot, a time or uploads")
    prefix = f"{UPLOADS}{selection.robot}/" if selection.robot else UPLOADS
    for key in sorted(selection.uploads) or [key for key in uploads(store) if key.startswith(prefix)]:
        verdict = verdict_of(store, key)
        if verdict is not None and verdict.verdict == "rejected" and key not in selection.uploads:
            continue
        try:
            manifest = read_manifest(store, key)
        except DataError:
            continue  # without a sound manifest there is no content that could be in a version
        if key == f"{UPLOADS}{manifest.robot}/{manifest.attempt}.json" and selection.picks(manifest):
            yield key, manifest.content_id


def _read(store: ObjectStore, key: str) -> Recall:
    try:
        found = Recall.from_bytes(store.get(key))
        if recall_key(found.id) == key:
            return found
    except (ValueError, TypeError, KeyError):
        pass
    raise StorageError(Code.STORE_CORRUPT, f"{key} is not the recall that its name says", "restore the object")
