"""Writes one robot's part of an export: a LeRobotDataset v2.1 folder made of runs of a version's episodes.

Numbers keep every bit. A run's video is a copy of its packets where it begins with a keyframe, as every whole episode
does; else it is encoded once. Where each episode came from stands in `volano/`, which other readers ignore.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.exports import layout, statistics
from volano.data.exports.peers import Peer
from volano.data.exports.select import Run
from volano.data.lerobot_layout import CAMERA_PREFIX
from volano.data.lerobot_read import Tables, read_tables
from volano.data.readers import footage
from volano.data.readers.foreign import ForeignVideo
from volano.data.video import VideoWriter
from volano.embodiment.contract import Camera, Embodiment


def write(folder: Path, source: Path, embodiment: Embodiment, runs: Sequence[Run], peer: Peer) -> Counter[str]:
    """Write the dataset of these runs into a new folder; `source` is the robot's folder of the version. Returns how
    many videos were copied as files (`copy`), as packets (`cut`) and encoded (`encode`). Raises DataError(E-DATA-013)
    when the source contradicts itself."""
    tables = read_tables(source)
    tasks = _Tasks(tables)
    made: Counter[str] = Counter()
    rows: list[pa.Table] = []
    episodes: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    position = 0
    for number, run in enumerate(runs):
        start = tables.rows[run.attempt.number]["dataset_from_index"] + run.start
        frames = tables.frames.slice(start, len(run))
        known = frames["task_index"][0].as_py()
        task = tasks.number(known)
        table = layout.frame_table(embodiment, frames, episode=number, position=position, task=task)
        _write_table(folder / layout.data_file(number), table)
        videos = {camera.name: folder / layout.video_file(number, camera.name) for camera in embodiment.cameras}
        made.update(_write_video(videos[one.name], source, tables, run, one) for one in embodiment.cameras)
        described = statistics.episode(table, {CAMERA_PREFIX + name: path for name, path in videos.items()})
        figures.append({"episode_index": number, "stats": described})
        episodes.append({"episode_index": number, "tasks": [tables.tasks[known]], "length": len(run)})
        rows.append(table)
        position += len(run)
    described = layout.info(embodiment, episodes=len(rows), frames=position, tasks=len(tasks.texts))
    documents = peer.files(embodiment, pa.concat_tables(rows), [len(table) for table in rows])
    for name, document in {"meta/info.json": described, **documents}.items():
        write_json(folder / name, document)
    listed = [{"task_index": number, "task": text} for number, text in enumerate(tasks.texts)]
    _write_lines(folder / "meta" / "tasks.jsonl", listed)
    _write_lines(folder / "meta" / "episodes.jsonl", episodes)
    _write_lines(folder / "meta" / "episodes_stats.jsonl", figures)
    _write_lines(folder / "volano" / "episodes.jsonl", [_origin(number, run) for number, run in enumerate(runs)])
    return made


def write_json(path: Path, document: object) -> None:
    """Write a document of JSON for people to read, and the folders above it; channels keep their order."""
    _write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


class _Tasks:
    """The instructions that the export uses, numbered in the order of their first use."""

    def __init__(self, tables: Tables) -> None:
        self._known = tables.tasks
        self._numbers: dict[int, int] = {}

    def number(self, known: int) -> int:
        """The export's number of the version's task `known`."""
        return self._numbers.setdefault(known, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """Those used so far."""
        return [self._known[known] for known in self._numbers]


def _write_video(path: Path, source: Path, tables: Tables, run: Run, camera: Camera) -> footage.Treatment:
    key, row, rate_hz = CAMERA_PREFIX + camera.name, tables.rows[run.attempt.number], tables.described["fps"]
    name = tables.described["video_path"].format(
        video_key=key, chunk_index=row[f"videos/{key}/chunk_index"], file_index=row[f"videos/{key}/file_index"]
    )
    start_s = row[f"videos/{key}/from_timestamp"] + run.start / rate_hz
    video = ForeignVideo(path=source / name, start_s=start_s, rate_hz=rate_hz)
    cut = footage.find(video, len(run), camera, exact=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if cut.treatment == "encode":
        with VideoWriter(path, rate_hz) as writer:
            for image in footage.images(video, cut):
                writer.add(image)
    else:
        footage.copy(video, cut, path)
    return cut.treatment


def _origin(number: int, run: Run) -> dict[str, Any]:
    return {
        "episode_index": number,
        "content_id": run.attempt.content_id,
        "start": run.start,
        "end": run.end,
        "weight": run.attempt.weight,
    }


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    _write_text(path, "".join(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in lines))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
