"""Recording an episode on the robot into a durable bundle: a folder with the ticks, one video per camera, a manifest.

Row t holds the observation before tick t and the action of tick t. `manifest.json` is written last, by one rename
after everything else is on the disk: a folder without it is torn, whatever killed the robot, and is never uploaded.
A bundle with it is complete and survives a power cut.
"""

import json
import shutil
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.bundle import MANIFEST_FILE
from volano.data.episode import SCHEMA, STEPS_FILE, FileEntry, Manifest, Outcome, Segment, SegmentKind, video_file
from volano.data.steps import steps_schema
from volano.data.video import VideoWriter
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.content import sha256_file
from volano.storage.files import replace_file, sync_file, sync_folder

Executed = Literal["policy", "fallback", "expert"]
FloatArray = NDArray[np.floating]
_TEXTS = ("segment", "policy", "request", "executed")


class Recorder:
    """Records one attempt into `<folder>/<attempt>`."""

    def __init__(
        self,
        folder: Path,
        embodiment: Embodiment,
        *,
        robot: str,
        attempt: str,
        task: str,
        instruction: str,
        started_at: float,
    ) -> None:
        """`started_at` is Unix time in seconds by the robot's clock. A torn folder of this attempt is replaced; raises
        DataError(E-DATA-018) when a complete bundle is there."""
        self._embodiment = embodiment
        self._robot = robot
        self._attempt = attempt
        self._task = task
        self._instruction = instruction
        self._started_at = started_at
        self._bundle = _new_folder(folder, attempt)
        self._videos = {
            camera.name: VideoWriter(self._bundle / video_file(camera.name), embodiment.rate_hz)
            for camera in embodiment.cameras
        }
        self._timestamps: list[float] = []
        self._states: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._segments: list[SegmentKind] = []
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}

    def tick(
        self,
        timestamp: float,
        images: Mapping[str, NDArray[np.uint8]],
        state: FloatArray,
        action: FloatArray,
        *,
        segment: SegmentKind,
        policy: str,
        request: str,
        executed: Executed,
    ) -> None:
        """Append one tick: the observation before it (`images` of shape (H, W, 3), `state`) and its `action`.

        `timestamp` is in seconds from the episode's start by a monotonic clock; texts as in `episode.STEPS_FILE`.
        Raises DataError and records nothing: E-DATA-010 when cameras or shapes are not the contract's, E-DATA-005 for
        an unknown segment, an unknown source, or a policy named when none acted.
        """
        self._check_arrays(images, state, action)
        _check_texts(segment, policy, executed)
        for name, video in self._videos.items():
            video.add(images[name])
        self._timestamps.append(float(timestamp))
        self._states.append(np.array(state, np.float32))
        self._actions.append(np.array(action, np.float32))
        self._segments.append(segment)
        for name, text in zip(_TEXTS, (segment, policy, request, executed), strict=True):
            self._texts[name].append(text)

    def finish(self, outcome: Outcome, *, rollout: str = "", arm: str = "") -> Path:
        """Make the bundle complete and durable, and return its folder.

        Raises DataError(E-DATA-014) when what was recorded is no episode (no tick, a name that is not plain); the
        folder stays torn then.
        """
        if not self._timestamps:
            raise DataError(Code.DATA_MANIFEST, f"attempt {self._attempt!r} has no tick", "record at least one tick")
        self.close()
        self._write_steps()
        manifest = self._manifest(outcome, rollout, arm)
        Manifest.from_json(json.loads(manifest.to_bytes()))
        for name in manifest.files:
            sync_file(self._bundle / name)
        sync_folder(self._bundle)
        replace_file(self._bundle / MANIFEST_FILE, [manifest.to_bytes()])
        return self._bundle

    def close(self) -> None:
        """Let go of the encoders; without `finish` the folder stays torn."""
        for video in self._videos.values():
            video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _check_arrays(self, images: Mapping[str, NDArray[np.uint8]], state: FloatArray, action: FloatArray) -> None:
        robot = self._embodiment
        expected = {camera.name: f"uint8 {(camera.height, camera.width, 3)}" for camera in robot.cameras}
        sent = {name: f"{image.dtype} {image.shape}" for name, image in images.items()}
        if sent != expected:
            raise _foreign(robot, f"images {sent}, the contract has {expected}")
        if state.shape != (len(robot.state),) or action.shape != (len(robot.action),):
            channels = f"{len(robot.state)} and {len(robot.action)} channels"
            raise _foreign(robot, f"state {state.shape} and action {action.shape}, the contract has {channels}")

    def _write_steps(self) -> None:
        robot = self._embodiment
        columns = {
            "frame_index": _numbers(np.arange(len(self._timestamps), dtype=np.int64), pa.int64()),
            "timestamp": _numbers(np.array(self._timestamps, np.float64), pa.float64()),
            "state": _vectors(self._states, len(robot.state)),
            "action": _vectors(self._actions, len(robot.action)),
            **{name: _strings(texts) for name, texts in self._texts.items()},
        }
        table = pa.table(columns, schema=steps_schema(len(robot.state), len(robot.action)))
        pq.write_table(table, self._bundle / STEPS_FILE)

    def _manifest(self, outcome: Outcome, rollout: str, arm: str) -> Manifest:
        robot = self._embodiment
        names = sorted([STEPS_FILE, *(video_file(camera.name) for camera in robot.cameras)])
        return Manifest(
            schema=SCHEMA,
            attempt=self._attempt,
            robot=self._robot,
            embodiment=robot.tag,
            fingerprint=robot.fingerprint,
            task=self._task,
            instruction=self._instruction,
            started_at=self._started_at,
            rate_hz=robot.rate_hz,
            frames=len(self._timestamps),
            segments=_joined(self._segments),
            outcome=outcome,
            policies=tuple(dict.fromkeys(filter(None, self._texts["policy"]))),
            rollout=rollout,
            arm=arm,
            files={name: _entry(self._bundle / name) for name in names},
        )


def _new_folder(folder: Path, attempt: str) -> Path:
    bundle = folder / attempt
    if attempt in {"", ".", ".."} or bundle.name != attempt:
        raise DataError(Code.DATA_MANIFEST, f"attempt {attempt!r} is not a plain name", "use letters, digits, - _ .")
    if (bundle / MANIFEST_FILE).exists():
        raise DataError(Code.DATA_ATTEMPT, f"attempt {attempt!r} is already recorded", "give every attempt a new name")
    folder.mkdir(parents=True, exist_ok=True)
    if bundle.exists():
        shutil.rmtree(bundle)
    bundle.mkdir()
    sync_folder(folder)
    return bundle


def _check_texts(segment: str, policy: str, executed: str) -> None:
    if segment not in get_args(SegmentKind) or executed not in get_args(Executed):
        raise DataError(
            Code.DATA_SCHEMA, f"segment {segment!r}, executed {executed!r}", "use the words of the episode's schema"
        )
    if bool(policy) != (executed == "policy"):
        raise DataError(
            Code.DATA_SCHEMA,
            f"executed is {executed!r} and policy {policy[:12]!r}",
            "name the policy of a tick exactly when its action was executed",
        )


def _joined(kinds: list[SegmentKind]) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for kind, run in groupby(kinds):
        start = found[-1].end if found else 0
        found.append(Segment(start=start, end=start + len(list(run)), kind=kind))
    return tuple(found)


def _numbers(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """An Arrow array over NumPy's memory: `pa.array` would import pandas, where it is installed, for nothing."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _strings(texts: list[str]) -> pa.StringArray:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _vectors(rows: list[NDArray[np.float32]], channels: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(_numbers(np.concatenate(rows), pa.float32()), channels)


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))


def _foreign(embodiment: Embodiment, cause: str) -> DataError:
    return DataError(Code.DATA_CONTRACT, f"{embodiment.tag}: {cause}", "record with the robot's own embodiment")
