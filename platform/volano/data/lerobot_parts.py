"""The parts of a LeRobot dataset that Volano wrote: what is in each, which files are its own, and how others follow.

Reads tables and counts of pictures, no video. Files come from a function, so that a version need not be materialized.
"""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.episode import Manifest
from volano.data.lerobot import Begun
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    EPISODES,
    FILES_PER_CHUNK,
    OWN_EPISODES,
    OWN_FRAMES,
    PICTURES,
    TASKS,
    numbered,
)
from volano.data.lerobot_read import matrix
from volano.data.lerobot_statistics import Gathered
from volano.embodiment.contract import Embodiment

Get = Callable[[str], bytes]
"""The content of a dataset's file, by its path."""


@dataclass(frozen=True, kw_only=True)
class PartFiles:
    """One part, and where it is."""

    contents: tuple[str, ...]
    """Of its episodes, in order."""
    data: tuple[str, ...]
    """Paths of its tables of frames, in order."""
    videos: Mapping[str, tuple[str, ...]]
    """Camera to paths, in order."""
    others: tuple[str, ...]
    pictures: str

    @property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        return (*self.data, *(name for names in self.videos.values() for name in names), *self.others, self.pictures)


def parts(get: Get, files: Container[str], embodiment: Embodiment) -> list[PartFiles]:
    """Every part of a dataset, in order; `files` are the paths of all its files."""
    contents = _table(get, OWN_EPISODES, ["content_id"])["content_id"].to_pylist()
    found, first = list[PartFiles](), 0
    while (name := numbered(EPISODES, len(found), "parquet")) in files:
        rows = _table(get, name)
        held = tuple(contents[first : first + len(rows)])
        others = (name, numbered(OWN_FRAMES, len(found), "parquet"))
        data = _paths(rows, "data", "data", "parquet")
        videos = {camera.name: _videos(rows, camera.name) for camera in embodiment.cameras}
        pictures = numbered(PICTURES, len(found), "json")
        found.append(PartFiles(contents=held, data=data, videos=videos, others=others, pictures=pictures))
        first += len(rows)
    return found


def begun(
    get: Get, kept: Sequence[PartFiles], embodiment: Embodiment, episodes: Mapping[str, tuple[Manifest, float]]
) -> Begun:
    """What a dataset goes on from that keeps the first parts of another one; `episodes` maps their contents to what is
    known of them, with the weights that they get."""
    known = tuple(episodes[content] for part in kept for content in part.contents)
    tasks = _table(get, TASKS)["task"].to_pylist()
    used = {manifest.instruction for manifest, _ in known}
    tasks = tasks[: max((number + 1 for number, task in enumerate(tasks) if task in used), default=0)]
    gathered = Gathered.start(embodiment)
    for part in kept:
        counts = {name: np.array(rows, np.int64) for name, rows in json.loads(get(part.pictures)).items()}
        gathered.join(Gathered(fps=gathered.fps, histograms=counts))
        for path in part.data:
            rows = _table(get, path, ["observation.state", "action"])
            gathered.state.append(matrix(rows["observation.state"]))
            gathered.action.append(matrix(rows["action"]))
    gathered.lengths.extend(manifest.frames for manifest, _ in known)
    gathered.tasks.extend(tasks.index(manifest.instruction) for manifest, _ in known)
    return Begun(
        gathered=gathered,
        episodes=known,
        tasks=tuple(tasks),
        parts=len(kept),
        data_files=sum(len(part.data) for part in kept),
        video_files={camera.name: sum(len(part.videos[camera.name]) for part in kept) for camera in embodiment.cameras},
    )


def _table(get: Get, name: str, columns: list[str] | None = None) -> pa.Table:
    return pq.read_table(BytesIO(get(name)), columns=columns)


def _videos(rows: pa.Table, camera: str) -> tuple[str, ...]:
    key = CAMERA_PREFIX + camera
    return _paths(rows, f"videos/{key}", f"videos/{key}", "mp4")


def _paths(rows: pa.Table, columns: str, folder: str, suffix: str) -> tuple[str, ...]:
    """The files that rows name, in order."""
    chunks, files = rows[f"{columns}/chunk_index"].to_pylist(), rows[f"{columns}/file_index"].to_pylist()
    numbers = sorted({chunk * FILES_PER_CHUNK + file for chunk, file in zip(chunks, files, strict=True)})
    return tuple(numbered(folder, number, suffix) for number in numbers)
