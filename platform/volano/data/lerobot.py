"""Writes accepted episodes of one embodiment as a LeRobotDataset v3 folder.

Stock LeRobot opens the result. What the format cannot say (content identifiers, segments, outcomes, lineage, the
robot's own clock, statistics by weight, what a stream of pictures is read by: see `volano.data.groups`) stands in the
folder `volano`, which other readers ignore. A dataset grows by parts: each has files of its own, and the files of
earlier parts stay as they are. The same parts give the same bytes: order within one is by content identifier, and no
clock is read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.data.groups import Cuts, write_groups
from volano.data.lerobot_layout import (
    CAMERA_PREFIX,
    DATA_BYTES_PER_FILE,
    EPISODES,
    OWN_EPISODES,
    OWN_FRAMES,
    OWN_SUMS,
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
from volano.data.lerobot_numbers import FloatArray, batches, together
from volano.data.lerobot_rows import episode_row, frame_table, own_episode_row, own_frame_table
from volano.data.lerobot_statistics import Gathered
from volano.data.lerobot_video import VideoWriter
from volano.data.merge import Merged, Weighted
from volano.data.sketch import EpisodeSketch, sketch_episode
from volano.data.spans import Spans
from volano.data.statistics import describe
from volano.data.steps import read_steps
from volano.data.sums_record import to_bytes
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

Sketch = Callable[[Path, Manifest, Embodiment], EpisodeSketch]
"""The sketch of an episode whose bundle is in a folder."""
Files = Callable[[str], Path | bytes]
"""A bundle's file by its name: where it is, or all of its bytes."""


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
    sums: Iterable[tuple[Sequence[SourceEpisode], Merged]] = ()
    """The episodes of each part, and what they add up to once each; read once."""
    rows: Iterable[tuple[FloatArray, FloatArray]] = ()
    """Actions and states of all, in order, in pieces of many episodes; read once."""
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


@contextmanager
def in_folder(source: SourceEpisode) -> Iterator[Files]:
    """The files of a bundle that is there."""
    yield source.folder.joinpath


class DatasetWriter:
    """Writes a dataset into a new folder, part by part."""

    def __init__(
        self,
        folder: Path,
        embodiment: Embodiment,
        begun: Begun,
        sketch: Sketch = sketch_episode,
        fetch: Callable[[SourceEpisode], AbstractContextManager[Files]] = in_folder,
    ) -> None:
        """Parts are added to those that are `begun`; the files of one episode at a time are fetched. Raises
        DataError(E-DATA-013) for a rate that is not a whole number of hertz, which the format cannot hold."""
        if embodiment.rate_hz != int(embodiment.rate_hz):
            raise DataError(
                Code.DATA_VERSION,
                f"{embodiment.tag!r} runs at {embodiment.rate_hz} Hz, LeRobot needs a whole number",
                "record at a whole number of hertz",
            )
        self._folder, self._embodiment, self._fps, self._sketch = folder, embodiment, int(embodiment.rate_hz), sketch
        self._fetch = fetch
        self._episodes, self._tasks, self._kept_rows = list(begun.episodes), list(begun.tasks), begun.rows
        self._recorded, self._drawn = Merged(embodiment), Weighted(embodiment)
        for episodes, sums in begun.sums:
            self._join(episodes, sums)
        self._parts, self._data_files = begun.parts, begun.data_files
        self._cuts = list[Cuts]()
        self._video_files = {camera.name: begun.video_files.get(camera.name, 0) for camera in embodiment.cameras}

    def add_part(self, sources: Sequence[SourceEpisode]) -> None:
        """Write the next part. Raises DataError for no episodes, another embodiment's, or doubled ones."""
        ordered = sorted(sources, key=lambda source: source.manifest.content_id)
        self._check([source.manifest for source in ordered])
        self._tasks += sorted({source.manifest.instruction for source in ordered} - {*self._tasks})
        rows = list[dict[str, Any]]()
        sums, position = Merged(self._embodiment), sum(one.manifest.frames for one in self._episodes)
        with ExitStack() as stack:
            data = stack.enter_context(_DataFiles(self._folder, frame_schema(self._embodiment), self._data_files))
            frames = self._path(OWN_FRAMES, "parquet")
            own_frames = stack.enter_context(pq.ParquetWriter(frames, own_frame_schema()))
            videos = {name: stack.enter_context(self._videos(name)) for name in self._video_files}
            for number, source in enumerate(ordered, len(self._episodes)):
                manifest = source.manifest
                with self._fetch(source) as files:
                    steps = read_steps(files(STEPS_FILE), self._embodiment, frames=manifest.frames)
                    task = self._tasks.index(manifest.instruction)
                    file = data.append(frame_table(self._embodiment, steps, number, position, task, self._fps))
                    own_frames.write_table(own_frame_table(steps, number))
                    spans = {
                        name: writer.append(files(video_file(name)), manifest.frames) for name, writer in videos.items()
                    }
                    rows.append(episode_row(manifest, number, position, self._parts, file, spans, self._fps))
                    sketch = self._sketch(source.folder, manifest, self._embodiment)
                    sums.add(sketch, 1)
                    self._drawn.add(sketch, source.weight)
                position += manifest.frames
        self._video_files = {name: writer.next_file for name, writer in videos.items()}
        self._cuts += [cuts for writer in videos.values() for cuts in writer.cuts]
        self._data_files = data.next_file
        table = pa.Table.from_pylist(rows, episode_schema(self._embodiment))
        pq.write_table(table, self._path(EPISODES, "parquet"))
        self._path(OWN_SUMS, "json").write_bytes(to_bytes(sums))
        self._recorded.add(sums, 1)
        self._episodes += ordered
        self._parts += 1

    def finish(self) -> None:
        """Write what tells of all parts. Raises DataError for a dataset without episodes."""
        if not self._episodes:
            raise DataError(Code.DATA_VERSION, "a dataset of no episodes", "ingest accepted episodes first")
        for name in ("meta", "volano"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        write_groups(self._folder, self._cuts)
        frames = sum(one.manifest.frames for one in self._episodes)
        described = info(self._embodiment, episodes=len(self._episodes), frames=frames, tasks=len(self._tasks))
        _write_json(self._folder / "meta" / "info.json", described)
        _write_json(self._folder / "meta" / "stats.json", self._statistics())
        pq.write_table(tasks_table(self._tasks), self._folder / TASKS)
        rows = [own_episode_row(one.manifest, one.weight, one.skipped, n) for n, one in enumerate(self._episodes)]
        pq.write_table(pa.Table.from_pylist(rows, own_episode_schema()), self._folder / OWN_EPISODES)

    def _statistics(self) -> dict[str, Any]:
        """Write those by weight, and return those of each row once; a piece of the rows is in memory at a time."""
        (self._folder / STATISTICS_FILE).write_bytes(describe(self._drawn).to_bytes())
        gathered, numbers = Gathered(self._recorded), {task: number for number, task in enumerate(self._tasks)}
        for action, state in together(chain(self._kept_rows, self._new_rows())):
            gathered.add(state, action)
        lengths = [one.manifest.frames for one in self._episodes]
        return gathered.describe(lengths, [numbers[one.manifest.instruction] for one in self._episodes])

    def _new_rows(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        for path in sorted((self._folder / "data").glob("*/*.parquet")):
            with pq.ParquetFile(path) as file:
                yield from batches(file)

    def _join(self, episodes: Sequence[SourceEpisode], sums: Merged) -> None:
        """Count the episodes of a part; their sketches are read where they have several weights."""
        self._recorded.add(sums, 1)
        weights = {one.weight for one in episodes}
        if len(weights) == 1:
            self._drawn.add(sums, weights.pop())
            return
        for one in episodes:
            self._drawn.add(self._sketch(one.folder, one.manifest, self._embodiment), one.weight)

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
