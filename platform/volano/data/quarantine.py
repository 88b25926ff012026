"""What is in quarantine, and everything that is known about one upload; reads the store, changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from volano.data.catalogue import judged
from volano.data.episode import Manifest
from volano.data.judge import read_manifest
from volano.data.readmission import Readmission, readmission_key, readmissions
from volano.data.verdict import UPLOADS, VERDICTS, Verdict, owner, verdict_of
from volano.errors import DataError
from volano.storage.store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of an upload."""

    name: str
    key: str
    size: int
    """As the manifest says."""
    stored: int | None
    """As the store says; None when it is not there."""


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """One upload, as whole as it can be told."""

    upload: str
    verdict: Verdict | None
    """None while it is in flight."""
    manifest: Manifest | None
    """None when it cannot be read."""
    owner: str
    """The upload that its content counts as; empty while there is none."""
    readmission: Readmission | None
    """As written; it has taken effect once this upload owns its content."""
    files: tuple[StoredFile, ...]

    @property
    def stands(self) -> str:
        """What became of it, in a word."""
        if self.verdict is None:
            return "in flight"
        readmitted = self.readmission is not None and self.owner == self.upload
        return "accepted" if readmitted else self.verdict.verdict


def held(store: ObjectStore, *, code: str = "", robot: str = "") -> Iterator[Verdict]:
    """Verdicts of what is in quarantine, in order of the upload; empty conditions hold for all."""
    released = readmissions(store)
    for verdict in judged(store, f"{VERDICTS}{robot}/" if robot else VERDICTS).values():
        if verdict.verdict == "quarantined" and verdict.upload not in released and code in {"", verdict.code}:
            yield verdict


def dossier(store: ObjectStore, upload: str) -> Dossier:
    """What is known about an upload; raises DataError(E-DATA-072) when there is none of this key."""
    verdict = verdict_of(store, upload)
    try:
        manifest = read_manifest(store, upload)
    except DataError:
        manifest = None
    key = readmission_key(upload)
    content_id = manifest.content_id if manifest else ""
    return Dossier(
        upload=upload,
        verdict=verdict,
        manifest=manifest,
        owner=owner(store, content_id) if content_id else "",
        readmission=Readmission.from_bytes(store.get(key)) if store.exists(key) else None,
        files=tuple(_files(store, manifest)) if manifest else (),
    )


def robot_of(upload: str) -> str:
    """The robot under whose name an upload came."""
    return upload.removeprefix(UPLOADS).split("/")[0]


def _files(store: ObjectStore, manifest: Manifest) -> Iterator[StoredFile]:
    for name, entry in sorted(manifest.files.items()):
        key = f"blobs/{entry.sha256}"
        yield StoredFile(name=name, key=key, size=entry.size, stored=store.size(key))
