"""Writes the dataset of one embodiment in a version: the parent's parts where they can stay, new ones from bundles."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from volano.data.episode import FileEntry, Manifest
from volano.data.growth import grow
from volano.data.judge import fetch_bundle
from volano.data.lerobot import DatasetWriter, SourceEpisode
from volano.data.lerobot_parts import PartFiles, begun, parts
from volano.data.validate import check_files
from volano.data.version import DatasetVersion, read_file
from volano.embodiment.contract import Embodiment
from volano.errors import Code, StorageError
from volano.storage.store import ObjectStore


def write_dataset(
    store: ObjectStore,
    parent: DatasetVersion | None,
    embodiment: Embodiment,
    chosen: Sequence[tuple[Manifest, float]],
    folder: Path,
) -> dict[str, FileEntry]:
    """Write the dataset of these episodes, with their weights, below a version's folder. Returns the files of the
    parent that belong to it as well, by their paths in the version. Raises StorageError when bytes are missing or
    other."""
    episodes = {manifest.content_id: (manifest, weight) for manifest, weight in chosen}
    sizes = {content: sum(file.size for file in one.files.values()) for content, (one, _) in episodes.items()}
    there = _parts(store, parent, embodiment) if parent is not None else []
    growth = grow([one.contents for one in there], sizes)
    kept = there[: growth.kept]
    get = partial(_get, store, parent, embodiment.tag)
    start = begun(get, kept, embodiment, episodes) if kept else None
    writer = DatasetWriter(folder / embodiment.tag, embodiment, start)
    for contents in growth.written:
        with tempfile.TemporaryDirectory(prefix="volano-part-") as scratch:
            writer.add_part([_fetched(store, *episodes[content], Path(scratch) / content) for content in contents])
    writer.finish()
    names = [f"{embodiment.tag}/{name}" for part in kept for name in part.names]
    return {name: parent.files[name] for name in names} if parent is not None else {}


def _parts(store: ObjectStore, parent: DatasetVersion, embodiment: Embodiment) -> list[PartFiles]:
    """Of the parent's dataset; none when it has another contract under the tag."""
    if parent.embodiments.get(embodiment.tag) != embodiment:
        return []
    prefix = f"{embodiment.tag}/"
    files = {name.removeprefix(prefix) for name in parent.files if name.startswith(prefix)}
    return parts(partial(_get, store, parent, embodiment.tag), files, embodiment)


def _get(store: ObjectStore, version: DatasetVersion | None, tag: str, name: str) -> bytes:
    assert version is not None
    return read_file(store, version, f"{tag}/{name}")


def _fetched(store: ObjectStore, manifest: Manifest, weight: float, folder: Path) -> SourceEpisode:
    finding = fetch_bundle(store, manifest, folder) or check_files(folder, manifest)
    if finding is not None:
        cause = f"accepted episode {manifest.content_id[:12]}: {finding.evidence}"
        raise StorageError(Code.STORE_CORRUPT, cause, "restore the object")
    return SourceEpisode(folder=folder, manifest=manifest, weight=weight)
