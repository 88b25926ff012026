"""Writes accepted episodes of one embodiment as a LeRobotDataset v3 folder.

Stock LeRobot opens the result. What the format cannot say (content identifiers, segments, outcomes, lineage, the
robot's own clock, statistics by weight, what a stream of pictures is read by: see `volano.data.groups`) stands in the
folder `volano`, which other readers ignore. A dataset grows by parts: each has files of its own, and the files of
earlier parts stay as they are. The same parts give the same bytes: order within one is by content identifier, and no
clock is read.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.groups import write_groups
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    DATA_BYTES_PER_FILE,
    EPISODES,
    OWN_EPISODES,
    OWN_FRAMES,
    STATISTICS_FILE,
    TASKS,
    VIDEO_BYTES_PER_FILE,
    episode_schema,
    frame_schema,
    info,
    numbered,
    own_episode_schema,
    own_frame_schema,
    tasks_table,
)
from volano.data.lerobot_numbers import recorded_rows
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

FloatArray = NDArray[np.float32]
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


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What of another dataset of the embodiment stays as it is: its first parts, whose files stand elsewhere."""

    episodes: tuple[SourceEpisode, ...] = ()
    """In the order of their numbers, with the weights they have now; their folders are not there."""
    sketches: tuple[EpisodeSketch, ...] = ()
    rows: Iterable[tuple[FloatArray, FloatArray]] = ()
    """Actions and states of each, read once."""
    tasks: tuple[str, ...] = ()
    """In the order of their numbers."""
    parts: int = 0
    data_files: int = 0
    video_files: dict[str, int] = field(default_factory=dict)
    """By camera."""


def write(
    folder: Path, embodiment: Embodiment, sources: Sequence[SourceEpisode], sketch: Sketch = sketch_episode
) -> None:
    """Write a dataset of one part into a new folder; raises like `DatasetWriter`."""
    writer = DatasetWriter(folder, embodiment, Begun(), sketch)
    writer.add_part(sources)
    writer.finish()


class DatasetWriter:
    """Writes a dataset into a new folder, part by part."""

    def __init__(self, folder: Path, embodiment: Embodiment, begun: Begun, sketch: Sketch = sketch_episode) -> None:
        """Parts are added to those that are `begun`. Raises DataError(E-DATA-013) for a rate that is not a whole number
        of hertz, which the format cannot hold."""
        if embodiment.rate_hz != int(embodiment.rate_hz):
            raise DataError(
                Code.DATA_VERSION,
                f"{embodiment.tag!r} runs at {embodiment.rate_hz} Hz, LeRobot needs a whole number",
                "record at a whole number of hertz",
            )
        self._folder, self._embodiment, self._fps, self._sketch = folder, embodiment, int(embodiment.rate_hz), sketch
        self._episodes, self._sketches, self._tasks = list(begun.episodes), list(begun.sketches), list(begun.tasks)
        self._kept_rows = begun.rows
        self._parts, self._data_files = begun.parts, begun.data_files
        self._video_files = {camera.name: begun.video_files.get(camera.name, 0) for camera in embodiment.cameras}

    def add_part(self, sources: Sequence[SourceEpisode]) -> None:
        """Write the next part. Raises DataError for no episodes, another embodiment's, or doubled ones."""
        ordered = sorted(sources, key=lambda source: source.manifest.content_id)
        self._check([source.manifest for source in ordered])
        self._tasks += sorted({source.manifest.instruction for source in ordered} - {*self._tasks})
        rows = list[dict[str, Any]]()
        position = sum(one.manifest.frames for one in self._episodes)
        with ExitStack() as stack:
            data = stack.enter_context(_DataFiles(self._folder, frame_schema(self._embodiment), self._data_files))
            frames = self._path(OWN_FRAMES, "parquet")
            own_frames = stack.enter_context(pq.ParquetWriter(frames, own_frame_schema()))
            videos = {name: stack.enter_context(self._videos(name)) for name in self._video_files}
            for number, source in enumerate(ordered, len(self._episodes)):
                manifest = source.manifest
                steps = read_steps(source.folder / STEPS_FILE, self._embodiment, frames=manifest.frames)
                task = self._tasks.index(manifest.instruction)
                file = data.append(frame_table(self._embodiment, steps, number, position, task, self._fps))
                own_frames.write_table(own_frame_table(steps, number))
                spans = {
                    name: writer.append(source.folder / video_file(name), manifest.frames)
                    for name, writer in videos.items()
                }
                rows.append(episode_row(manifest, number, position, self._parts, file, spans, self._fps))
                self._sketches.append(self._sketch(source.folder, manifest, self._embodiment))
                position += manifest.frames
        self._video_files = {name: writer.next_file for name, writer in videos.items()}
        self._data_files = data.next_file
        table = pa.Table.from_pylist(rows, episode_schema(self._embodiment))
        pq.write_table(table, self._path(EPISODES, "parquet"))
        self._episodes += ordered
        self._parts += 1

    def finish(self) -> None:
        """Write what tells of all parts. Raises DataError for a dataset without episodes."""
        if not self._episodes:
            raise DataError(Code.DATA_VERSION, "a dataset of no episodes", "ingest accepted episodes first")
        for name in ("meta", "volano"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        write_groups(self._folder, self._fps)
        frames = sum(one.manifest.frames for one in self._episodes)
        described = info(self._embodiment, episodes=len(self._episodes), frames=frames, tasks=len(self._tasks))
        _write_json(self._folder / "meta" / "info.json", described)
        _write_json(self._folder / "meta" / "stats.json", self._statistics())
        pq.write_table(tasks_table(self._tasks), self._folder / TASKS)
        rows = [own_episode_row(one.manifest, one.weight, one.skipped, n) for n, one in enumerate(self._episodes)]
        pq.write_table(pa.Table.from_pylist(rows, own_episode_schema()), self._folder / OWN_EPISODES)

    def _statistics(self) -> dict[str, Any]:
        """Write those by weight, and return those of each row once; one episode's rows are in memory at a time."""
        recorded, drawn = Merged(self._embodiment), Merged(self._embodiment)
        weights, parts = whole_weights([one.weight for one in self._episodes])
        for sketch, weight in zip(self._sketches, weights, strict=True):
            recorded.add(sketch, 1)
            drawn.add(sketch, weight)
        (self._folder / STATISTICS_FILE).write_bytes(describe(drawn, parts).to_bytes())
        gathered = Gathered(recorded)
        rows = chain(self._kept_rows, recorded_rows(self._folder))
        for one, (action, state) in zip(self._episodes, rows, strict=True):
            gathered.add(state, action, self._tasks.index(one.manifest.instruction))
        return gathered.describe()

    def _check(self, manifests: Sequence[Manifest]) -> None:
        if not manifests:
            raise DataError(Code.DATA_VERSION, "a part of no episodes", "ingest accepted episodes first")
        if any(manifest.fingerprint != self._embodiment.fingerprint for manifest in manifests):
            cause = f"not every episode is of {self._embodiment.tag!r}"
            raise DataError(Code.DATA_CONTRACT, cause, "write one dataset per embodiment")
        known = [one.content_id for one in (*(one.manifest for one in self._episodes), *manifests)]
        if len(set(known)) != len(known):
            raise DataError(Code.DATA_DUPLICATE, "the same episode is given twice", "select each content once")

    def _path(self, folder: str, suffix: str) -> Path:
        """Where the part's file of a folder goes."""
        path = self._folder / numbered(folder, self._parts, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _videos(self, camera: str) -> VideoWriter:
        folder = self._folder / "videos" / (CAMERA_PREFIX + camera)
        return VideoWriter(folder, fps=self._fps, max_bytes=VIDEO_BYTES_PER_FILE, first=self._video_files[camera])


class _DataFiles:
    """Parquet files of frames: one row group per episode, a new file before one would grow too large."""

    def __init__(self, folder: Path, schema: pa.Schema, first: int) -> None:
        self._folder = folder
        self._schema = schema
        self._size = 0
        self._writer: pq.ParquetWriter | None = None
        self.next_file = first
        """Number of the next file."""

    def append(self, table: pa.Table) -> int:
        """Write one episode and return the number of its file."""
        if self._writer is None or self._size + table.nbytes > DATA_BYTES_PER_FILE:
            self.close()
            self._size = 0
            path = self._folder / numbered("data", self.next_file, "parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, self._schema, compression="snappy")
            self.next_file += 1
        self._writer.write_table(table, row_group_size=len(table))
        self._size += table.nbytes
        return self.next_file - 1

    def close(self) -> None:
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")
