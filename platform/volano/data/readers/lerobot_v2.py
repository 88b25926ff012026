"""Reads LeRobotDataset v2.0 and v2.1 in place: one Parquet file and one video per camera and episode, lists in JSON."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from volano.data.readers import lerobot
from volano.data.readers.files import filled, inside, read_json_lines
from volano.data.readers.foreign import (
    MAX_EPISODES,
    MAX_FRAMES,
    ForeignEpisode,
    ForeignImages,
    ForeignVideo,
    Found,
    require,
    understood,
)
from volano.data.readers.lerobot import COUNTERS, Described
from volano.data.readers.mapping import Mapping
from volano.data.readers.parquet import read_table
from volano.errors import Code

VERSIONS = ("v2.0", "v2.1")


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of episodes.jsonl."""

    episode: int
    length: int
    start: int
    tasks: list[str]


def read(root: Path, _mapping: Mapping) -> list[Found]:
    """Every episode of the dataset; raises DataError when its lists contradict themselves."""
    described = lerobot.describe(root)
    require(described.version in VERSIONS, f"version {described.version!r} is not one of {VERSIONS}")
    with understood("the lists of meta/"):
        tasks = _tasks(root)
        found = []
        for row in _rows(root):
            source = filled(described.data_path, _places(described, row.episode))
            opened = partial(_open, described, row, tasks, source)
            found.append(Found(name=f"{row.episode:06d}", source=source, open=opened))
        return found


def _tasks(root: Path) -> list[str]:
    lines = list(read_json_lines(inside(root, "meta/tasks.jsonl")))
    numbered = {line["task_index"]: line["task"] for line in lines}
    require(sorted(numbered, key=str) == sorted(range(len(lines)), key=str), "tasks.jsonl leaves gaps")
    return [str(numbered[number]) for number in range(len(lines))]


def _rows(root: Path) -> list[_Row]:
    rows: list[_Row] = []
    start = 0
    for number, line in enumerate(read_json_lines(inside(root, "meta/episodes.jsonl"))):
        require(number < MAX_EPISODES, "too many episodes", Code.DATA_SIZE)
        length: Any = line["length"]
        require(line["episode_index"] == number, f"episodes.jsonl line {number + 1} is not episode {number}")
        require(type(length) is int and 0 < length <= MAX_FRAMES, f"the length of episode {number}")
        rows.append(_Row(episode=number, length=length, start=start, tasks=_texts(line["tasks"])))
        start += length
    return rows


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]


def _places(described: Described, episode: int, camera: str = "") -> dict[str, int | str]:
    places: dict[str, int | str] = {
        "episode_chunk": episode // described.files_per_chunk,
        "episode_index": episode,
    }
    return {**places, "video_key": camera} if camera else places


def _open(described: Described, row: _Row, tasks: list[str], source: str) -> ForeignEpisode:
    path = inside(described.root, source)

    def columns(names: Collection[str]) -> pa.Table:
        return read_table(path, names)

    counters = columns(COUNTERS)
    require(
        len(counters) == row.length,
        f"episode {row.episode} has {len(counters)} rows, not {row.length}",
        Code.DATA_FRAME_COUNT,
    )
    task = lerobot.task_of(counters, row.episode, row.start, tasks, row.tasks)
    cameras: dict[str, ForeignVideo | ForeignImages] = {}
    for key, (kind, height, width) in described.cameras.items():
        if kind == "image":
            cameras[key] = lerobot.images_of(columns, key, height, width)
            continue
        video = inside(described.root, filled(described.video_path, _places(described, row.episode, key)))
        cameras[key] = ForeignVideo(path=video, start_s=0.0, rate_hz=described.rate_hz)
    return ForeignEpisode(
        source=source,
        frames=row.length,
        rate_hz=described.rate_hz,
        started_at=None,
        texts={"task": task},
        fields=described.fields,
        cameras=cameras,
        load=partial(lerobot.rows_of, columns, described),
    )
