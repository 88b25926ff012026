"""Reads a LeRobotDataset v3 folder that Volano wrote, episode by episode, videos decoded in order.

Believes nothing that stock readers let through unseen: rows must be numbered by their position, episodes must fill
the rows without gaps, tasks must stand in order, and every frame must be at its exact time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.episode import Outcome, Segment
from volano.data.lerobot_layout import CAMERA_PREFIX, EPISODES, OWN_EPISODES, OWN_FRAMES, TASKS
from volano.data.lerobot_numbers import matrix
from volano.data.lerobot_video import VideoReader
from volano.data.spans import Spans
from volano.errors import Code, DataError


@dataclass(frozen=True, kw_only=True)
class Episode:
    """T frames of one attempt, as training reads them."""

    content_id: str
    robot: str
    task: str
    instruction: str
    images: dict[str, NDArray[np.uint8]]
    """Per camera, RGB of shape (T, height, width, 3)."""
    state: NDArray[np.float32]
    """(T, state channels), physical units."""
    action: NDArray[np.float32]
    """(T, action channels), physical units, recorded frame."""
    timestamp: NDArray[np.float64]
    """(T,), the robot's clock in seconds from the start."""
    segments: tuple[Segment, ...]
    outcome: Outcome
    policies: tuple[str, ...]
    policy: tuple[str, ...]
    """Per frame, the digest of the policy whose action it was; empty when none."""
    executed: tuple[str, ...]
    rollout: str
    arm: str
    weight: float
    skipped: Spans
    """Ticks that training takes no sample from."""


def read(folder: Path, *, pictures: bool = True) -> Iterator[Episode]:
    """Every episode in order; raises DataError(E-DATA-013) for a folder that contradicts itself. Without `pictures`
    there may be no videos in it."""
    described = json.loads((folder / "meta" / "info.json").read_bytes())
    rows = _concatenate(folder / EPISODES).to_pylist()
    frames = _concatenate(folder / "data")
    own_rows = pq.read_table(folder / OWN_EPISODES).to_pylist()
    own_frames = _concatenate(folder / OWN_FRAMES)
    tasks = _tasks(pq.read_table(folder / TASKS))
    _check(described, rows, frames, own_rows, own_frames)
    cameras = _cameras(described) if pictures else []
    videos: dict[str, VideoReader] = {}
    try:
        for row, own in zip(rows, own_rows, strict=True):
            start, length = row["dataset_from_index"], row["length"]
            images = {key.removeprefix(CAMERA_PREFIX): _images(folder, described, videos, key, row) for key in cameras}
            yield _episode(own, images, frames.slice(start, length), own_frames.slice(start, length), tasks)
    finally:
        for video in videos.values():
            video.close()


def places(folder: Path) -> list[dict[str, tuple[str, int]]]:
    """Of every episode in order, by camera: the path of its video below the folder, and the frames that stand there
    before its own."""
    described = json.loads((folder / "meta" / "info.json").read_bytes())
    rows = _concatenate(folder / EPISODES).to_pylist()
    cameras = _cameras(described)
    return [{key.removeprefix(CAMERA_PREFIX): _place(described, key, row) for key in cameras} for row in rows]


def _cameras(described: dict[str, Any]) -> list[str]:
    return [name for name, feature in described["features"].items() if feature["dtype"] == "video"]


def _concatenate(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*/*.parquet"))])


def _tasks(table: pa.Table) -> list[str]:
    _require(table["task_index"].to_pylist() == list(range(len(table))), "tasks do not stand in order")
    texts: list[str] = table["task"].to_pylist()
    return texts


def _check(
    described: dict[str, Any],
    rows: list[dict[str, Any]],
    frames: pa.Table,
    own_rows: list[dict[str, Any]],
    own_frames: pa.Table,
) -> None:
    total = described["total_frames"]
    lengths = [row["length"] for row in rows]
    numbers = np.repeat(np.arange(len(rows)), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    ticks = np.concatenate([np.arange(length) for length in lengths])
    _require(described["codebase_version"] == "v3.0", "it is not version 3.0")
    _require(len(rows) == len(own_rows) == described["total_episodes"], "episodes are missing")
    _require(len(frames) == len(own_frames) == len(numbers) == total, "frames are missing")
    _require(np.array_equal([row["dataset_from_index"] for row in rows], starts), "episodes leave gaps")
    _require(np.array_equal(frames["index"].to_numpy(), np.arange(total)), "`index` is not the row's position")
    for table in (frames, own_frames):
        _require(np.array_equal(table["episode_index"].to_numpy(), numbers), "rows belong to other episodes")
        _require(np.array_equal(table["frame_index"].to_numpy(), ticks), "frames are not in order")


def _images(
    folder: Path, described: dict[str, Any], videos: dict[str, VideoReader], key: str, row: dict[str, Any]
) -> NDArray[np.uint8]:
    path, first = _place(described, key, row)
    video = videos.setdefault(path, VideoReader(folder / path, described["fps"]))
    images = video.read(first, row["length"])
    _require(list(images.shape[1:]) == described["features"][key]["shape"], f"{path} has another image size")
    return images


def _place(described: dict[str, Any], key: str, row: dict[str, Any]) -> tuple[str, int]:
    path = described["video_path"].format(
        video_key=key,
        chunk_index=row[f"videos/{key}/chunk_index"],
        file_index=row[f"videos/{key}/file_index"],
    )
    first = row[f"videos/{key}/from_timestamp"] * described["fps"]
    _require(abs(first - round(first)) < 1e-6, "an episode's video starts between two frames")
    return path, round(first)


def _episode(
    own: dict[str, Any], images: dict[str, NDArray[np.uint8]], frames: pa.Table, own_frames: pa.Table, tasks: list[str]
) -> Episode:
    return Episode(
        instruction=tasks[frames["task_index"][0].as_py()],
        images=images,
        state=matrix(frames["observation.state"]),
        action=matrix(frames["action"]),
        timestamp=own_frames["timestamp"].to_numpy(),
        segments=tuple(Segment(**segment) for segment in own["segments"]),
        skipped=tuple((span["start"], span["end"]) for span in own["skipped"]),
        outcome=Outcome(success=own["success"], autonomous=own["autonomous"], source=own["outcome_source"]),
        policies=tuple(own["policies"]),
        policy=tuple(own_frames["policy"].to_pylist()),
        executed=tuple(own_frames["executed"].to_pylist()),
        **{name: own[name] for name in ("content_id", "robot", "task", "rollout", "arm", "weight")},
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise DataError(Code.DATA_VERSION, f"the dataset contradicts itself: {what}", "materialize its version again")
