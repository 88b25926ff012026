"""Writes accepted episodes of one embodiment as a LeRobotDataset v3 folder.

Stock LeRobot opens the result. What the format cannot say (content identifiers, segments, outcomes, lineage, the
robot's own clock, statistics by weight, what a stream of pictures is read by: see `volano.data.groups`) stands in the
folder `volano`, which other readers ignore.
The same episodes give the same bytes: order is by content identifier, and no clock is read.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.groups import write_groups
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    DATA_BYTES_PER_FILE,
    FILES_PER_CHUNK,
    STATISTICS_FILE,
    VIDEO_BYTES_PER_FILE,
    episode_schema,
    frame_schema,
    info,
    own_episode_schema,
    own_frame_schema,
    tasks_table,
)
from volano.data.lerobot_rows import episode_row, frame_table, own_episode_row, own_frame_table
from volano.data.lerobot_statistics import Gathered
from volano.data.lerobot_video import VideoWriter
from volano.data.merge import Merged, whole_weights
from volano.data.sketch import EpisodeSketch, sketch_episode
from volano.data.spans import Spans
from volano.data.statistics import describe
from volano.data.steps import read_steps
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

Sketch = Callable[[Path, Manifest, Embodiment], EpisodeSketch]
"""The sketch of an episode whose bundle is in a folder."""


@dataclass(frozen=True, kw_only=True)
class SourceEpisode:
    """An accepted episode to write: its bundle's folder, what its manifest says, and its sampling weight."""

    folder: Path
    manifest: Manifest
    weight: float
    skipped: Spans = ()
    """Ticks that training takes no sample from; their frames are written as all others."""


def write(
    folder: Path, embodiment: Embodiment, sources: Sequence[SourceEpisode], sketch: Sketch = sketch_episode
) -> None:
    """Write the dataset into a new folder; raises DataError for no episodes, another embodiment's or doubled
    ones, or a rate that is not a whole number of hertz, which the format cannot hold. One episode's rows are in memory
    at a time."""
    ordered = sorted(sources, key=lambda source: source.manifest.content_id)
    fps = _check(embodiment, ordered)
    tasks = sorted({source.manifest.instruction for source in ordered})
    (folder / "volano").mkdir(parents=True)
    gathered = Gathered(_write_statistics(folder, embodiment, ordered, sketch))
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        data = stack.enter_context(_DataFiles(folder / "data", frame_schema(embodiment)))
        own_frames = stack.enter_context(pq.ParquetWriter(folder / "volano" / "frames.parquet", own_frame_schema()))
        videos = {
            camera.name: stack.enter_context(
                VideoWriter(folder / "videos" / (CAMERA_PREFIX + camera.name), fps=fps, max_bytes=VIDEO_BYTES_PER_FILE)
            )
            for camera in embodiment.cameras
        }
        for number, source in enumerate(ordered):
            steps = read_steps(source.folder / STEPS_FILE, embodiment, frames=source.manifest.frames)
            task, position = tasks.index(source.manifest.instruction), sum(gathered.lengths)
            file = data.append(frame_table(embodiment, steps, number, position, task, fps))
            own_frames.write_table(own_frame_table(steps, number))
            spans = {
                name: writer.append(source.folder / video_file(name), source.manifest.frames)
                for name, writer in videos.items()
            }
            rows.append(episode_row(source.manifest, number, position, file, spans, fps))
            gathered.add(steps.state, steps.action, task)
    write_groups(folder, fps)
    _write_meta(folder, embodiment, tasks, rows, gathered)
    own_rows = [
        own_episode_row(source.manifest, source.weight, source.skipped, number) for number, source in enumerate(ordered)
    ]
    pq.write_table(pa.Table.from_pylist(own_rows, own_episode_schema()), folder / "volano" / "episodes.parquet")


def _write_statistics(folder: Path, embodiment: Embodiment, sources: Sequence[SourceEpisode], sketch: Sketch) -> Merged:
    """Write those by weight, and return the sketches added up with each episode once."""
    recorded, drawn = Merged(embodiment), Merged(embodiment)
    weights, parts = whole_weights([source.weight for source in sources])
    for source, weight in zip(sources, weights, strict=True):
        found = sketch(source.folder, source.manifest, embodiment)
        recorded.add(found, 1)
        drawn.add(found, weight)
    (folder / STATISTICS_FILE).write_bytes(describe(drawn, parts).to_bytes())
    return recorded


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
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _write_meta(
    folder: Path, embodiment: Embodiment, tasks: list[str], rows: list[dict[str, Any]], gathered: Gathered
) -> None:
    episodes = folder / "meta" / "episodes" / "chunk-000"
    episodes.mkdir(parents=True)
    described = info(embodiment, episodes=len(rows), frames=sum(gathered.lengths), tasks=len(tasks))
    _write_json(folder / "meta" / "info.json", described)
    _write_json(folder / "meta" / "stats.json", gathered.describe())
    pq.write_table(tasks_table(tasks), folder / "meta" / "tasks.parquet")
    pq.write_table(pa.Table.from_pylist(rows, episode_schema(embodiment)), episodes / "file-000.parquet")


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")
