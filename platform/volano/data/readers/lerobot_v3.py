"""Reads LeRobotDataset v3.0 in place: many episodes share a Parquet file and a video.

Where episodes lie is compared before one is believed: they must fill the rows without gaps, no two may share frames of
a video (a video that is early by a frame is found so), and the rows themselves must carry their numbers.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from volano.data.readers import lerobot
from volano.data.readers.files import filled, inside, listed
from volano.data.readers.foreign import (
    MAX_EPISODES,
    MAX_FRAMES,
    ForeignEpisode,
    ForeignImages,
    ForeignVideo,
    Found,
    refuse,
    require,
    understood,
)
from volano.data.readers.lerobot import COUNTERS, Described
from volano.data.readers.mapping import Mapping
from volano.data.readers.parquet import column, floats, integers, read_table
from volano.errors import Code

VERSIONS = ("v3.0",)
_PLACES = ("episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")
_OVERLAP_FRAMES = 0.5
"""Rounded time stamps may make neighbours seem to touch; a real overlap is a frame or more."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row of meta/episodes."""

    episode: int
    length: int
    start: int
    tasks: list[str]
    data: str
    videos: dict[str, tuple[str, float]]
    """Camera key to its file and where the episode begins in it, in seconds."""


class _Tables:
    """Columns of the file read last: neighbouring episodes share one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: tuple[str, frozenset[str], pa.Table] = ("", frozenset(), None)

    def rows(self, file: str, episode: int, names: Collection[str]) -> pa.Table:
        """The rows of an episode, which must stand one after another in its file."""
        wanted = frozenset({"episode_index", *names})
        if self._kept[0] != file or not wanted <= self._kept[1]:
            wanted |= self._kept[1]
            self._kept = (file, wanted, read_table(inside(self._root, file), wanted))
        table = self._kept[2]
        places = np.flatnonzero(integers(table, "episode_index") == episode)
        require(places.size > 0, f"{file} has no row of episode {episode}")
        require(int(places[-1] - places[0]) == places.size - 1, f"rows of episode {episode} are scattered")
        return table.slice(int(places[0]), places.size)


def read(root: Path, _mapping: Mapping) -> list[Found]:
    """Every episode of the dataset; raises DataError when its tables contradict themselves."""
    described = lerobot.describe(root)
    require(described.version in VERSIONS, f"version {described.version!r} is not one of {VERSIONS}")
    with understood("the tables of meta/", pa.ArrowException):
        tasks = _tasks(read_table(inside(root, "meta/tasks.parquet")))
        rows = _rows(described)
        _require_apart(described, rows)
    tables = _Tables(root)
    return [
        Found(
            name=f"{row.episode:06d}",
            source=f"{row.data} episode {row.episode}",
            open=partial(_open, described, row, tasks, tables),
        )
        for row in rows
    ]


def _tasks(table: pa.Table) -> list[str]:
    texts = [name for name in ("task", "__index_level_0__") if name in table.column_names]
    require(bool(texts), "tasks.parquet has no texts")
    in_order = np.array_equal(integers(table, "task_index"), np.arange(len(table)))
    require(in_order, "tasks.parquet is not in order: stock readers take a text by its row")
    return [str(text) for text in column(table, texts[0]).to_pylist()]


def _rows(described: Described) -> list[_Row]:
    videos = {key for key, (kind, _, _) in described.cameras.items() if kind == "video"}
    places = [f"videos/{key}/{name}" for key in videos for name in ("chunk_index", "file_index", "from_timestamp")]
    files = listed(described.root, "meta/episodes/*/*.parquet")
    require(bool(files), "meta/episodes holds no table", Code.DATA_MISSING_FILE)
    rows: list[_Row] = []
    for file in files:
        table = read_table(file, {*_PLACES, *places, "tasks"})
        require(len(rows) + len(table) <= MAX_EPISODES, "too many episodes", Code.DATA_SIZE)
        numbers = {name: integers(table, name) for name in (*_PLACES, *places) if not name.endswith("from_timestamp")}
        starts = {name: floats(table, name) for name in places if name.endswith("from_timestamp")}
        listed_tasks = column(table, "tasks").to_pylist()
        for at, texts in enumerate(listed_tasks):
            whole = {name: int(values[at]) for name, values in numbers.items()}
            seconds = {name: float(values[at]) for name, values in starts.items()}
            rows.append(_row(described, whole, texts, videos, seconds))
    end = 0
    for number, row in enumerate(rows):
        require(row.episode == number, f"row {number} of meta/episodes is episode {row.episode}")
        require(row.start == end, f"episode {number} starts at row {row.start}, not {end}")
        end += row.length
    return rows


def _row(
    described: Described, numbers: dict[str, int], tasks: object, videos: Collection[str], starts: dict[str, float]
) -> _Row:
    episode, length = numbers["episode_index"], numbers["length"]
    require(0 < length <= MAX_FRAMES, f"the length of episode {episode}")
    ends = numbers["dataset_to_index"] - numbers["dataset_from_index"]
    require(ends == length, f"episode {episode} has {ends} rows for a length of {length}")

    def file(template: str, place: str, **more: str) -> str:
        found = {"chunk_index": numbers[f"{place}/chunk_index"], "file_index": numbers[f"{place}/file_index"]}
        require(min(found.values()) >= 0, f"a negative file number at episode {episode}")
        return filled(template, {**found, **more})

    return _Row(
        episode=episode,
        length=length,
        start=numbers["dataset_from_index"],
        tasks=[str(text) for text in tasks] if isinstance(tasks, list) else [str(tasks)],
        data=file(described.data_path, "data"),
        videos={
            key: (
                file(described.video_path, f"videos/{key}", video_key=key),
                starts[f"videos/{key}/from_timestamp"],
            )
            for key in videos
        },
    )


def _require_apart(described: Described, rows: list[_Row]) -> None:
    """No two episodes may share frames of one video."""
    spans: dict[str, list[tuple[float, int, int]]] = {}
    for row in rows:
        for file, start_s in row.videos.values():
            require(0 <= start_s < 1e7, f"episode {row.episode} begins at {start_s} s of its video")
            spans.setdefault(file, []).append((start_s * described.rate_hz, row.length, row.episode))
    for file, found in spans.items():
        found.sort()
        for (start, length, one), (following, _, other) in pairwise(found):
            if following < start + length - _OVERLAP_FRAMES:
                raise refuse(f"episodes {one} and {other} share frames of {file}")


def _open(described: Described, row: _Row, tasks: list[str], tables: _Tables) -> ForeignEpisode:
    read_columns: Callable[[Collection[str]], pa.Table] = partial(tables.rows, row.data, row.episode)
    counters = read_columns(COUNTERS)
    require(
        len(counters) == row.length,
        f"episode {row.episode} has {len(counters)} rows, not {row.length}",
        Code.DATA_FRAME_COUNT,
    )
    task = lerobot.task_of(counters, row.episode, row.start, tasks, row.tasks)
    cameras: dict[str, ForeignVideo | ForeignImages] = {}
    for key, (kind, height, width) in described.cameras.items():
        if kind == "image":
            cameras[key] = lerobot.images_of(read_columns, key, height, width)
        else:
            file, start_s = row.videos[key]
            cameras[key] = ForeignVideo(path=inside(described.root, file), start_s=start_s, rate_hz=described.rate_hz)
    return ForeignEpisode(
        source=f"{row.data} rows {row.start}:{row.start + row.length}",
        frames=row.length,
        rate_hz=described.rate_hz,
        started_at=None,
        texts={"task": task},
        fields=described.fields,
        cameras=cameras,
        load=partial(lerobot.rows_of, read_columns, described),
    )
