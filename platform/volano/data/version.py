"""Dataset versions: immutable lists of episodes with their files, named by the SHA-256 of their content.

A version exists once `datasets/<id>/version.json` exists; that one conditional put is the commit and comes last. Files
stand under `files/<sha256>`: versions that have one in common share it.
What is loaded or materialized is verified against the identifier and the hashes, file by file.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from volano.data.episode import FileEntry
from volano.data.spans import Spans, parse_spans
from volano.data.text import strict_json
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError, StorageError
from volano.storage.content import canonical_json, sha256_bytes, sha256_file
from volano.storage.store import ObjectStore

SCHEMA = "volano.dataset.3"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class EpisodeReference:
    """One episode of a version."""

    content_id: str
    embodiment: str
    """Fingerprint of its contract."""
    weight: float
    """How often it is drawn, relative to others."""
    skipped: Spans = ()
    """Ticks [start, end) that training takes no sample from; they stay in the files, and in chunks of other ticks."""


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """What a version holds. Equal content has an equal identifier, whoever builds it and whenever."""

    parent: str
    """Identifier of the version it follows; empty for the first."""
    reason: str
    episodes: tuple[EpisodeReference, ...]
    """In order of content_id."""
    embodiments: dict[str, Embodiment]
    """Tag to contract; each tag is also a folder with a LeRobot dataset."""
    files: dict[str, FileEntry]
    """Path below the version's folder to size and hash; the object is `file_key`."""

    @cached_property
    def id(self) -> str:
        """SHA-256 of `to_bytes`."""
        return sha256_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "parent": self.parent,
                "reason": self.reason,
                "episodes": [vars(episode) for episode in self.episodes],
                "embodiments": {tag: asdict(embodiment) for tag, embodiment in self.embodiments.items()},
                "files": {name: vars(entry) for name, entry in self.files.items()},
            }
        )

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises DataError(E-DATA-013)."""
        try:
            return cls(**_parse(data))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                Code.DATA_VERSION, f"not a dataset version: {error}", "build the version again from its episodes"
            ) from error


@dataclass(frozen=True, kw_only=True)
class VersionDifference:
    """What changed from one version to another; content identifiers in order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reweighted: tuple[str, ...]
    """Drawn more or less often, or from other ticks."""
    embodiments: tuple[str, ...]
    """Tags whose contract was added, removed or changed."""


def describe_folder(folder: Path) -> dict[str, FileEntry]:
    """Size and hash of every file below a folder, by its `/`-separated path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _entry(path) for path in paths}


def commit(
    store: ObjectStore, folder: Path, version: DatasetVersion, here: Mapping[str, FileEntry] | None = None
) -> str:
    """Put a version's files, then its record; returns the identifier. A file that its parent has need not be in the
    folder; `here` is what `describe_folder` has just said of that. Committing the same content twice, or again after a
    kill, changes nothing. Raises DataError(E-DATA-013) when folder and parent are not what the version says."""
    here = describe_folder(folder) if here is None else here
    elsewhere = {name: entry for name, entry in version.files.items() if name not in here}
    shared = load(store, version.parent).files if elsewhere and version.parent else {}
    if {**here, **elsewhere} != version.files or not elsewhere.items() <= shared.items():
        raise DataError(Code.DATA_VERSION, f"{folder.name} does not hold the version's files", "write the folder again")
    for name, entry in here.items():
        store.put_new_file(file_key(entry), folder / name)
    store.put_new(_record(version.id), version.to_bytes())
    return version.id


def load(store: ObjectStore, version_id: str) -> DatasetVersion:
    """The committed version of that identifier; raises DataError(E-DATA-013) when there is none and
    StorageError(E-STORE-007) when the record is not what its name says."""
    if not _ID.fullmatch(version_id):
        raise DataError(Code.DATA_VERSION, f"{version_id!r} names no version", "give the version's 64 hex digits")
    try:
        data = store.get(_record(version_id))
    except StorageError as error:
        if error.code is not Code.STORE_MISSING:
            raise
        cause = f"there is no dataset version {version_id[:12]} in {store.url}"
        raise DataError(Code.DATA_VERSION, cause, "list those there are: volano data versions --store STORE") from error
    if sha256_bytes(data) != version_id:
        raise StorageError(Code.STORE_CORRUPT, f"version {version_id[:12]} has another content", "restore the object")
    try:
        plain = strict_json(data)
    except (ValueError, RecursionError):
        plain = None  # what is no JSON is no version either
    return DatasetVersion.from_json(plain)


def names(store: ObjectStore) -> list[str]:
    """Identifiers of every committed version, in order."""
    keys = [info.key.split("/") for info in store.list("datasets/")]
    return [parts[1] for parts in keys if parts[2:] == ["version.json"]]


def meant(store: ObjectStore, start: str) -> str:
    """The identifier of the one committed version that begins so; raises DataError(E-DATA-013) when none or several
    do."""
    if _ID.fullmatch(start):
        return start
    found = [name for name in names(store) if start and name.startswith(start)]
    if len(found) != 1:
        cause = f"{len(found)} dataset versions in {store.url} begin with {start!r}"
        raise DataError(Code.DATA_VERSION, cause, "list those there are: volano data versions --store STORE")
    return found[0]


def read_file(store: ObjectStore, version: DatasetVersion, name: str) -> bytes:
    """One small file of a committed version; raises DataError(E-DATA-013) when the version has none of that name and
    StorageError(E-STORE-007) when the store holds other bytes."""
    data = store.get(object_key(version, name))
    if sha256_bytes(data) != version.files[name].sha256:
        raise _altered(version.id, name)
    return data


def listed(store: ObjectStore) -> list[DatasetVersion]:
    """Every committed version, each behind its parent, and else in order of its identifier."""
    return parents_first(load(store, name) for name in names(store))


def parents_first(versions: Iterable[DatasetVersion]) -> list[DatasetVersion]:
    """Each behind its parent where that is among them, and else in the order given."""
    left = {version.id: version for version in versions}
    found: dict[str, DatasetVersion] = {}
    while left:
        ready = [name for name, version in left.items() if version.parent not in left] or list(left)
        for name in ready:
            found[name] = left.pop(name)
    return list(found.values())


def ancestors(versions: Iterable[DatasetVersion], version: DatasetVersion) -> tuple[DatasetVersion, ...]:
    """A version's parent, its parent's, and so on; it ends where one is not known."""
    known = {one.id: one for one in versions}
    found: list[DatasetVersion] = []
    while version.parent in known:
        version = known.pop(version.parent)
        found.append(version)
    return tuple(found)


def materialize(
    store: ObjectStore, version_id: str, folder: Path, wanted: Callable[[str], bool] = lambda _name: True
) -> DatasetVersion:
    """Bring a version's files, or those of them that are `wanted`, into a folder, each verified by its hash; files that
    are already there and right are kept. Raises StorageError(E-STORE-007) when the store holds other bytes."""
    version = load(store, version_id)
    for name, entry in version.files.items():
        if not wanted(name):
            continue
        path = folder / name
        if path.is_file() and _entry(path) == entry:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = path.with_name(path.name + ".arriving")
        arriving.unlink(missing_ok=True)
        store.get_file(file_key(entry), arriving)
        if _entry(arriving) != entry:
            arriving.unlink()
            raise _altered(version_id, name)
        os.replace(arriving, path)
    return version


def is_table(name: str) -> bool:
    """Whether a version's file holds numbers and no pictures."""
    return not name.endswith(".mp4")


def object_key(version: DatasetVersion, name: str) -> str:
    """Where in the store a version's file is; raises DataError(E-DATA-013) when the version has none of that name."""
    if name not in version.files:
        cause = f"version {version.id[:12]} has no {name}"
        raise DataError(Code.DATA_VERSION, cause, "build the version again from its episodes")
    return file_key(version.files[name])


def diff(old: DatasetVersion, new: DatasetVersion) -> VersionDifference:
    """What `new` has over `old`."""
    before = {episode.content_id: (episode.weight, episode.skipped) for episode in old.episodes}
    after = {episode.content_id: (episode.weight, episode.skipped) for episode in new.episodes}
    tags = {*old.embodiments, *new.embodiments}
    return VersionDifference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        reweighted=tuple(sorted(key for key in before.keys() & after.keys() if before[key] != after[key])),
        embodiments=tuple(sorted(tag for tag in tags if old.embodiments.get(tag) != new.embodiments.get(tag))),
    )


def _altered(version_id: str, name: str) -> StorageError:
    cause = f"{name} of version {version_id[:12]} has another content"
    return StorageError(Code.STORE_CORRUPT, cause, "restore the object")


def file_key(entry: FileEntry) -> str:
    """Key of a version's file."""
    return f"files/{entry.sha256}"


def _record(version_id: str) -> str:
    return f"datasets/{version_id}/version.json"


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))


def _parse(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    fields = {name: value for name, value in data.items() if name != "schema"}
    fields["episodes"] = tuple(
        EpisodeReference(**{**episode, "skipped": parse_spans(episode["skipped"])}) for episode in fields["episodes"]
    )
    fields["embodiments"] = {tag: Embodiment.from_json(plain) for tag, plain in fields["embodiments"].items()}
    fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
    texts = [fields["parent"], fields["reason"], *(entry.sha256 for entry in fields["files"].values())]
    texts += [text for episode in fields["episodes"] for text in (episode.content_id, episode.embodiment)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a field is no text")
    numbers = [*(e.weight for e in fields["episodes"]), *(entry.size for entry in fields["files"].values())]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("a weight or size is no number")
    for name in fields["files"]:
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise ValueError(f"file name {name!r} is not allowed")
    return fields
