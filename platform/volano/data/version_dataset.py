"""Writes the dataset of one embodiment in a version: the parent's parts where they can stay, new ones from bundles."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from volano.data.episode import FileEntry, Manifest
from volano.data.growth import grow
from volano.data.judge import accepted_files, fetch_accepted
from volano.data.lerobot import Begun, DatasetWriter, SourceEpisode
from volano.data.lerobot_parts import PartFiles, begun, parts
from volano.data.sketch import EpisodeSketch
from volano.data.sketch_store import kept_sketch, sketch_key
from volano.data.spans import Spans
from volano.data.version import DatasetVersion, read_file
from volano.embodiment.contract import Embodiment
from volano.storage.store import ObjectStore


def write_dataset(
    store: ObjectStore,
    parent: DatasetVersion | None,
    embodiment: Embodiment,
    chosen: Sequence[tuple[Manifest, float, Spans]],
    folder: Path,
) -> dict[str, FileEntry]:
    """Write the dataset of these episodes, with their weights and skipped ticks, below a version's folder. Returns the
    files of the parent that belong to it as well, by their paths in the version. Raises StorageError when bytes are
    missing or other."""
    episodes = {
        manifest.content_id: SourceEpisode(folder=Path(), manifest=manifest, weight=weight, skipped=skipped)
        for manifest, weight, skipped in chosen
    }
    sizes = {key: sum(file.size for file in one.manifest.files.values()) for key, one in episodes.items()}
    there = _parts(store, parent, embodiment) if parent is not None else []
    growth = grow([one.contents for one in there], sizes)
    kept, start = there[: growth.kept], Begun()
    if parent is not None and kept:
        start = begun(partial(_get, store, parent, embodiment.tag), kept, embodiment, episodes)
    writer = DatasetWriter(
        folder / embodiment.tag,
        embodiment,
        start,
        lambda _folder, manifest, robot: _sketch(store, robot, episodes[manifest.content_id]),
        lambda source: accepted_files(store, source.manifest),
    )
    for contents in growth.written:
        writer.add_part([episodes[content] for content in contents])
    writer.finish()
    shared = parent.files if parent is not None else {}
    names = [f"{embodiment.tag}/{name}" for part in kept for name in part.names]
    return {name: shared[name] for name in names}


def _sketch(store: ObjectStore, embodiment: Embodiment, episode: SourceEpisode) -> EpisodeSketch:
    """Its bundle is fetched only where the sketch is gone."""
    if store.exists(sketch_key(episode.manifest.content_id)):
        return kept_sketch(store, episode.folder, episode.manifest, embodiment)
    with tempfile.TemporaryDirectory(prefix="volano-part-") as scratch:
        fetch_accepted(store, episode.manifest, Path(scratch) / "bundle")
        return kept_sketch(store, Path(scratch) / "bundle", episode.manifest, embodiment)


def _parts(store: ObjectStore, parent: DatasetVersion, embodiment: Embodiment) -> list[PartFiles]:
    """Of the parent's dataset; none when it has another contract under the tag."""
    if parent.embodiments.get(embodiment.tag) != embodiment:
        return []
    prefix = f"{embodiment.tag}/"
    files = {name.removeprefix(prefix) for name in parent.files if name.startswith(prefix)}
    return parts(partial(_get, store, parent, embodiment.tag), files, embodiment)


def _get(store: ObjectStore, version: DatasetVersion, tag: str, name: str) -> bytes:
    return read_file(store, version, f"{tag}/{name}")
