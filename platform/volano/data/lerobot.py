"""Writes accepted episodes of one embodiment as a LeRobotDataset v3 folder.

Stock LeRobot opens the result. What the format cannot say (content identifiers, segments, outcomes, lineage, the
robot's own clock) stands in `volano/episodes.parquet` and `volano/frames.parquet`, which other readers ignore.
The same episodes give the same bytes: order is by content identifier, and no clock is read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    DATA_BYTES_PER_FILE,
    FILES_PER_CHUNK,
    VIDEO_BYTES_PER_FILE,
    episode_schema,
    features,
    frame_schema,
    image_statistics,
    info,
    own_episode_schema,
    own_frame_schema,
    statistics,
    tasks_table,
)
from volano.data.lerobot_video import Span, VideoWriter, keyframes
from volano.data.steps import Steps, read_steps
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError


@dataclass(frozen=True, kw_only=True)
class SourceEpisode:
    """An accepted episode to write: its bundle's folder, what its manifest says, and its sampling weight."""

    folder: Path
    manifest: Manifest
    weight: float


def write(folder: Path, embodiment: Embodiment, sources: Sequence[SourceEpisode]) -> None:
    """Write the dataset into a new folder; raises DataError for no episodes, another embodiment's or doubled
    ones, or a rate that is not a whole number of hertz, which the format cannot hold."""
    ordered = sorted(sources, key=lambda source: source.manifest.content_id)
    fps = _check(embodiment, ordered)
    tasks = sorted({source.manifest.instruction for source in ordered})
    folder.mkdir(parents=True)
    values = _Values(
        state=[],
        action=[],
        length=[],
        task=[],
        images={camera.name: np.zeros((3, 256), np.int64) for camera in embodiment.cameras},
    )
    writers = {
        camera.name: VideoWriter(
            folder=folder / "videos" / (CAMERA_PREFIX + camera.name), fps=fps, max_bytes=VIDEO_BYTES_PER_FILE
        )
        for camera in embodiment.cameras
    }
    data = _DataFiles(folder / "data", frame_schema(embodiment))
    rows: list[dict[str, Any]] = []
    own_rows: list[dict[str, Any]] = []
    (folder / "volano").mkdir()
    try:
        with pq.ParquetWriter(folder / "volano" / "frames.parquet", own_frame_schema()) as own_frames:
            for number, source in enumerate(ordered):
                steps = read_steps(source.folder / STEPS_FILE, embodiment, frames=source.manifest.frames)
                task = tasks.index(source.manifest.instruction)
                position = sum(values.length)
                file = data.append(_frame_table(embodiment, steps, number, position, task, fps))
                own_frames.write_table(_own_frame_table(steps, number))
                spans = {
                    name: writer.append(source.folder / video_file(name), source.manifest.frames)
                    for name, writer in writers.items()
                }
                rows.append(_episode_row(source.manifest, number, position, file, spans, fps))
                own_rows.append(_own_episode_row(source, number))
                values.add(source, steps, task)
    finally:
        data.close()
        for writer in writers.values():
            writer.close()
    _write_meta(folder, embodiment, tasks, rows, values)
    pq.write_table(pa.Table.from_pylist(own_rows, own_episode_schema()), folder / "volano" / "episodes.parquet")


def _check(embodiment: Embodiment, ordered: Sequence[SourceEpisode]) -> int:
    if not ordered:
        raise DataError(Code.DATA_VERSION, "a dataset of no episodes", "ingest accepted episodes first")
    if any(source.manifest.fingerprint != embodiment.fingerprint for source in ordered):
        raise DataError(
            Code.DATA_CONTRACT, f"not every episode is of {embodiment.tag!r}", "write one dataset per embodiment"
        )
    if len({source.manifest.content_id for source in ordered}) != len(ordered):
        raise DataError(Code.DATA_DUPLICATE, "the same episode is given twice", "select each content once")
    if embodiment.rate_hz != int(embodiment.rate_hz):
        raise DataError(
            Code.DATA_VERSION,
            f"{embodiment.tag!r} runs at {embodiment.rate_hz} Hz, LeRobot needs a whole number",
            "record at a whole number of hertz",
        )
    return int(embodiment.rate_hz)


@dataclass(kw_only=True)
class _Values:
    """What the statistics are computed from, gathered episode by episode."""

    state: list[NDArray[np.float32]]
    action: list[NDArray[np.float32]]
    length: list[int]
    task: list[int]
    images: dict[str, NDArray[np.int64]]
    """Per camera, how often each of the 256 values occurs in each colour of the keyframes, (3, 256)."""

    def add(self, source: SourceEpisode, steps: Steps, task: int) -> None:
        self.state.append(steps.state)
        self.action.append(steps.action)
        self.length.append(len(steps.frame_index))
        self.task.append(task)
        for name, histogram in self.images.items():
            for image in keyframes(source.folder / video_file(name)):
                for colour in range(3):
                    histogram[colour] += np.bincount(image[..., colour].reshape(-1), minlength=256)


class _DataFiles:
    """Parquet files of frames: one row group per episode, a new file before one would grow too large."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._file = -1
        self._size = 0
        self._writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> int:
        """Write one episode and return the number of its file."""
        if self._writer is None or self._size + table.nbytes > DATA_BYTES_PER_FILE:
            self.close()
            self._file += 1
            self._size = 0
            path = self._folder / f"chunk-{self._file // FILES_PER_CHUNK:03d}"
            path.mkdir(parents=True, exist_ok=True)
            name = f"file-{self._file % FILES_PER_CHUNK:03d}.parquet"
            self._writer = pq.ParquetWriter(path / name, self._schema, compression="snappy")
        self._writer.write_table(table, row_group_size=len(table))
        self._size += table.nbytes
        return self._file

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _frame_table(embodiment: Embodiment, steps: Steps, number: int, position: int, task: int, fps: int) -> pa.Table:
    length = len(steps.frame_index)
    schema = frame_schema(embodiment)
    arrays = {
        "observation.state": _column(steps.state, schema.field("observation.state").type),
        "action": _column(steps.action, schema.field("action").type),
        "timestamp": pa.array((steps.frame_index / fps).astype(np.float32)),
        "frame_index": pa.array(steps.frame_index),
        "episode_index": pa.array(np.full(length, number, np.int64)),
        "index": pa.array(np.arange(position, position + length, dtype=np.int64)),
        "task_index": pa.array(np.full(length, task, np.int64)),
    }
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _column(values: NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size) if pa.types.is_fixed_size_list(kind) else flat


def _own_frame_table(steps: Steps, number: int) -> pa.Table:
    length = len(steps.frame_index)
    columns = [
        np.full(length, number, np.int64),
        steps.frame_index,
        steps.timestamp,
        steps.segment,
        steps.policy,
        steps.request,
        steps.executed,
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=own_frame_schema())


def _episode_row(
    manifest: Manifest, number: int, position: int, file: int, spans: dict[str, Span], fps: int
) -> dict[str, Any]:
    row = {
        "episode_index": number,
        "tasks": [manifest.instruction],
        "length": manifest.frames,
        "dataset_from_index": position,
        "dataset_to_index": position + manifest.frames,
        "data/chunk_index": file // FILES_PER_CHUNK,
        "data/file_index": file % FILES_PER_CHUNK,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    for name, span in spans.items():
        prefix = f"videos/{CAMERA_PREFIX}{name}"
        row[f"{prefix}/chunk_index"] = span.file // FILES_PER_CHUNK
        row[f"{prefix}/file_index"] = span.file % FILES_PER_CHUNK
        row[f"{prefix}/from_timestamp"] = span.start / fps
        row[f"{prefix}/to_timestamp"] = (span.start + manifest.frames) / fps
    return row


def _own_episode_row(source: SourceEpisode, number: int) -> dict[str, Any]:
    manifest = source.manifest
    return {
        "episode_index": number,
        "content_id": manifest.content_id,
        "weight": source.weight,
        "success": manifest.outcome.success,
        "autonomous": manifest.outcome.autonomous,
        "outcome_source": manifest.outcome.source,
        "segments": [asdict(segment) for segment in manifest.segments],
        "policies": list(manifest.policies),
        **{name: getattr(manifest, name) for name in ("robot", "attempt", "task", "rollout", "arm", "started_at")},
    }


def _write_meta(
    folder: Path, embodiment: Embodiment, tasks: list[str], rows: list[dict[str, Any]], values: _Values
) -> None:
    meta = folder / "meta"
    (meta / "episodes" / "chunk-000").mkdir(parents=True)
    totals = {"episodes": len(rows), "frames": sum(values.length), "tasks": len(tasks)}
    _write_json(meta / "info.json", info(embodiment, features(embodiment), **totals))
    columns = {"observation.state": np.concatenate(values.state), "action": np.concatenate(values.action)}
    described = statistics(columns, values.length, values.task, fps=int(embodiment.rate_hz))
    for name, histogram in values.images.items():
        described[CAMERA_PREFIX + name] = image_statistics(histogram)
    _write_json(meta / "stats.json", described)
    pq.write_table(tasks_table(tasks), meta / "tasks.parquet")
    table = pa.Table.from_pylist(rows, episode_schema(embodiment))
    pq.write_table(table, meta / "episodes" / "chunk-000" / "file-000.parquet")


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")
