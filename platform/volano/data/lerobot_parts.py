"""The parts of a LeRobot dataset that Volano wrote: what is in each, which files are its own, and how others follow.

Reads tables and counts of pictures, no video. Files come from a function, so that a version need not be materialized.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.groups import GROUPS, VIDEOS
from volano.data.lerobot import Begun, SourceEpisode
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    EPISODES,
    FILES_PER_CHUNK,
    OWN_EPISODES,
    OWN_FRAMES,
    OWN_SUMS,
    TASKS,
    numbered,
)
from volano.data.lerobot_numbers import FloatArray, batches
from volano.data.sums_record import from_bytes
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
    sums: str
    """Where its episodes are added up: one of the others."""
    others: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        videos = [name for names in self.videos.values() for name in names]
        groups = [f"{GROUPS}/{name.removeprefix(f'{VIDEOS}/').removesuffix('.mp4')}.parquet" for name in videos]
        return (*self.data, *videos, *groups, *self.others)


def parts(get: Get, files: Container[str], embodiment: Embodiment) -> list[PartFiles]:
    """Every part of a dataset, in order; `files` are the paths of all its files."""
    contents = _table(get, OWN_EPISODES, ["content_id"])["content_id"].to_pylist()
    found, first = list[PartFiles](), 0
    while (name := numbered(EPISODES, len(found), "parquet")) in files:
        sums = numbered(OWN_SUMS, len(found), "json")
        if sums not in files:  # of a version built before parts had them: its part is written anew
            break
        rows = _table(get, name)
        held = tuple(contents[first : first + len(rows)])
        others = (name, numbered(OWN_FRAMES, len(found), "parquet"), sums)
        data = _paths(rows, "data", "data", "parquet")
        videos = {camera.name: _videos(rows, camera.name) for camera in embodiment.cameras}
        found.append(PartFiles(contents=held, data=data, videos=videos, sums=sums, others=others))
        first += len(rows)
    return found


def begun(
    get: Get,
    kept: Sequence[PartFiles],
    embodiment: Embodiment,
    episodes: Mapping[str, SourceEpisode],
) -> Begun:
    """What a dataset goes on from that keeps the first parts, one at least, of another one; `episodes` maps their
    contents to what is known of them, with the weights that they get."""
    contents = [content for part in kept for content in part.contents]
    tasks = _table(get, TASKS)["task"].to_pylist()
    used = {episodes[content].manifest.instruction for content in contents}
    return Begun(
        episodes=tuple(episodes[content] for content in contents),
        sums=(
            (
                [episodes[content] for content in part.contents],
                from_bytes(get(part.sums), embodiment, len(part.contents)),
            )
            for part in kept
        ),
        rows=_rows(get, kept),
        tasks=tuple(tasks[: max(number + 1 for number, task in enumerate(tasks) if task in used)]),
        parts=len(kept),
        data_files=sum(len(part.data) for part in kept),
        video_files={camera.name: sum(len(part.videos[camera.name]) for part in kept) for camera in embodiment.cameras},
    )


def _rows(get: Get, kept: Sequence[PartFiles]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Actions and states, many episodes at a time."""
    for part in kept:
        for path in part.data:
            with pq.ParquetFile(BytesIO(get(path))) as file:
                yield from batches(file)


def _table(get: Get, name: str, columns: list[str] | None = None) -> pa.Table:
    with pq.ParquetFile(BytesIO(get(name))) as file:  # opens at half the price of a dataset
        return file.read(columns=columns, use_threads=False)


def _videos(rows: pa.Table, camera: str) -> tuple[str, ...]:
    key = CAMERA_PREFIX + camera
    return _paths(rows, f"videos/{key}", f"videos/{key}", "mp4")


def _paths(rows: pa.Table, columns: str, folder: str, suffix: str) -> tuple[str, ...]:
    """The files that rows name, in order."""
    chunks, files = rows[f"{columns}/chunk_index"].to_pylist(), rows[f"{columns}/file_index"].to_pylist()
    numbers = sorted({chunk * FILES_PER_CHUNK + file for chunk, file in zip(chunks, files, strict=True)})
    return tuple(numbered(folder, number, suffix) for number in numbers)
