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
from volano.data.lerobot_read import places, read
from volano.data.readers import footage
from volano.data.readers.foreign import ForeignVideo
from volano.data.video import VideoWriter
from volano.embodiment.contract import Camera, Embodiment


def write(folder: Path, source: Path, embodiment: Embodiment, runs: Sequence[Run], peer: Peer) -> Counter[str]:
    """Write the dataset of these runs into a new folder; `source` is the robot's folder of the version. Returns how
    many videos were copied as files (`copy`), as packets (`cut`) and encoded (`encode`). Raises DataError(E-DATA-013)
    when the source contradicts itself."""
    episodes, spots = list(read(source, pictures=False)), places(source)
    tasks: dict[str, int] = {}
    made: Counter[str] = Counter()
    rows: list[pa.Table] = []
    listed: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    position = 0
    for number, run in enumerate(runs):
        episode, ticks = episodes[run.attempt.number], slice(run.start, run.end)
        task = tasks.setdefault(episode.instruction, len(tasks))
        state, action = episode.state[ticks], episode.action[ticks]
        table = layout.frame_table(embodiment, state, action, episode=number, position=position, task=task)
        _write_table(folder / layout.data_file(number), table)
        videos = {}
        for camera in embodiment.cameras:
            path = videos[CAMERA_PREFIX + camera.name] = folder / layout.video_file(number, camera.name)
            file, before = spots[run.attempt.number][camera.name]
            made[_write_video(path, source / file, before + run.start, len(run), camera, embodiment.rate_hz)] += 1
        figures.append({"episode_index": number, "stats": statistics.episode(table, videos)})
        listed.append({"episode_index": number, "tasks": [episode.instruction], "length": len(run)})
        rows.append(table)
        position += len(run)
    described = layout.info(embodiment, episodes=len(rows), frames=position, tasks=len(tasks))
    documents = peer.files(embodiment, pa.concat_tables(rows), [len(table) for table in rows])
    for name, document in {"meta/info.json": described, **documents}.items():
        write_json(folder / name, document)
    _write_lines(folder / "meta" / "tasks.jsonl", [{"task_index": at, "task": text} for text, at in tasks.items()])
    _write_lines(folder / "meta" / "episodes.jsonl", listed)
    _write_lines(folder / "meta" / "episodes_stats.jsonl", figures)
    _write_lines(folder / "volano" / "episodes.jsonl", [_origin(number, run) for number, run in enumerate(runs)])
    return made


def write_json(path: Path, document: object) -> None:
    """Write a document of JSON for people to read, and the folders above it; channels keep their order."""
    _write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _write_video(
    path: Path, source: Path, before: int, frames: int, camera: Camera, rate_hz: float
) -> footage.Treatment:
    """Write `frames` frames of a file behind the first `before` ones."""
    video = ForeignVideo(path=source, start_s=before / rate_hz, rate_hz=rate_hz)
    cut = footage.find(video, frames, camera, exact=True)
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
