"""From an attempt's journal to its bundle: the table of ticks, one video per camera, and the manifest last.

The same journal and number of ticks give the same bytes, so that whoever is killed here begins again. Nothing of the
journal is lost before the manifest is on the disk, and then nothing of it is needed.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE
from volano.data.episode import SCHEMA, STEPS_FILE, FileEntry, Manifest, Outcome, Segment, SegmentKind, video_file
from volano.data.recording import CameraFrame, Entry, Reader, Start, Tick
from volano.data.steps import steps_schema
from volano.data.text import strict_json
from volano.data.video import VideoFile
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.content import sha256_file
from volano.storage.files import replace_file, sync_file, sync_folder

_TEXTS = ("segment", "policy", "request", "executed")


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a journal holds that can be believed."""

    start: Start
    ticks: int
    frames: dict[str, int]
    """Camera to number of frames."""
    bytes_left: int
    """Bytes behind what can be believed."""
    reason: str
    """Why they cannot; empty when there are none."""
    autonomous: bool
    """Nobody helped in the ticks of which all is there."""

    @property
    def whole(self) -> int:
        """Ticks of which every camera's frame is there."""
        return min([self.ticks, *self.frames.values()])


def survey(file: BinaryIO) -> Survey:
    """Read a journal through; raises DataError(E-DATA-060) when it does not begin as one."""
    reader = Reader(file)
    frames = {camera.name: 0 for camera in reader.start.embodiment.cameras}
    kinds: list[SegmentKind] = []
    for entry in reader.entries():
        if entry.tick is not None:
            kinds.append(entry.tick.segment)
        for one in entry.frames:
            frames[one.camera] += 1
    return Survey(
        start=reader.start,
        ticks=len(kinds),
        frames=frames,
        bytes_left=reader.left,
        reason=reader.reason,
        autonomous="intervention" not in kinds[: min([len(kinds), *frames.values()])],
    )


def write_files(file: BinaryIO, bundle: Path, ticks: int, outcome: Outcome, rollout: str, arm: str) -> Manifest:
    """Write the first `ticks` ticks of a journal into a bundle's files, through to the disk; returns the manifest that
    names them. Raises DataError: E-DATA-060 when the journal has not that many whole ones, E-DATA-014 when what was
    recorded is no episode."""
    reader, rows = Reader(file), list[Tick]()
    with ExitStack() as stack:
        videos = _Videos(bundle, reader.start.embodiment, ticks, stack)
        for entry in reader.entries():
            if entry.tick is not None and len(rows) < ticks:
                rows.append(entry.tick)
            videos.add(entry)
        if {len(rows), *videos.counts()} != {ticks}:
            cause = f"{bundle.name}: the journal lost some of {ticks} ticks: {reader.reason}"
            raise DataError(Code.DATA_RECORDING, cause, f"keep the others: volano data repair {bundle.parent}")
    _write_steps(bundle / STEPS_FILE, reader.start.embodiment, rows)
    names = sorted([STEPS_FILE, *(video_file(camera.name) for camera in reader.start.embodiment.cameras)])
    manifest = _manifest(reader.start, rows, outcome, rollout, arm, {name: _entry(bundle / name) for name in names})
    for name in names:
        sync_file(bundle / name)
    sync_folder(bundle)
    return Manifest.from_json(strict_json(manifest.to_bytes()))


def commit(bundle: Path, manifest: Manifest) -> None:
    """Make a bundle complete, by its manifest; then let go of the journal."""
    replace_file(bundle / MANIFEST_FILE, [manifest.to_bytes()])
    (bundle / JOURNAL_FILE).unlink(missing_ok=True)


class _Videos:
    """The first frames of every camera, each into its file; closed with `stack`."""

    def __init__(self, bundle: Path, embodiment: Embodiment, ticks: int, stack: ExitStack) -> None:
        self._bundle = bundle
        self._rate_hz = embodiment.rate_hz
        self._cameras = {camera.name: camera for camera in embodiment.cameras}
        self._ticks = ticks
        self._stack = stack
        self._files: dict[str, VideoFile] = {}

    def add(self, entry: Entry) -> None:
        for one in entry.frames:
            file = self._files.get(one.camera) or self._open(one)
            if file.frames < self._ticks:
                file.add(one.frame)

    def counts(self) -> list[int]:
        return [self._files[name].frames if name in self._files else 0 for name in self._cameras]

    def _open(self, first: CameraFrame) -> VideoFile:
        camera = self._cameras[first.camera]
        path = self._bundle / video_file(camera.name)
        file = VideoFile(path, self._rate_hz, height=camera.height, width=camera.width, headers=first.headers)
        self._files[camera.name] = self._stack.enter_context(closing(file))
        return file


def _write_steps(path: Path, robot: Embodiment, rows: Sequence[Tick]) -> None:
    texts = {name: [str(getattr(row, name)) for row in rows] for name in _TEXTS}
    columns = {
        "frame_index": _numbers(np.arange(len(rows), dtype=np.int64), pa.int64()),
        "timestamp": _numbers(np.array([row.timestamp for row in rows], np.float64), pa.float64()),
        "state": _vectors([row.state for row in rows], len(robot.state)),
        "action": _vectors([row.action for row in rows], len(robot.action)),
        **{name: _strings(column) for name, column in texts.items()},
    }
    pq.write_table(pa.table(columns, schema=steps_schema(len(robot.state), len(robot.action))), path)


def _manifest(
    start: Start, rows: Sequence[Tick], outcome: Outcome, rollout: str, arm: str, files: dict[str, FileEntry]
) -> Manifest:
    robot = start.embodiment
    return Manifest(
        schema=SCHEMA,
        attempt=start.attempt,
        robot=start.robot,
        embodiment=robot.tag,
        fingerprint=robot.fingerprint,
        task=start.task,
        instruction=start.instruction,
        started_at=start.started_at,
        rate_hz=robot.rate_hz,
        frames=len(rows),
        segments=_joined([row.segment for row in rows]),
        outcome=outcome,
        policies=tuple(dict.fromkeys(row.policy for row in rows if row.policy)),
        rollout=rollout,
        arm=arm,
        files=files,
    )


def _joined(kinds: Sequence[SegmentKind]) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for kind, run in groupby(kinds):
        start = found[-1].end if found else 0
        found.append(Segment(start=start, end=start + len(list(run)), kind=kind))
    return tuple(found)


def _numbers(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """An Arrow array over NumPy's memory: `pa.array` would import pandas, where it is installed, for nothing."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _strings(texts: Sequence[str]) -> pa.StringArray:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _vectors(rows: Sequence[NDArray[np.float32]], channels: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(_numbers(np.concatenate(rows), pa.float32()), channels)


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
