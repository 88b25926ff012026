"""Writes small real sources of every foreign format, with the formats' own libraries, and the truth they hold.

Frame k of an episode shows `first_number + k`, and its rows hold the same number, so that a frame in another row is
seen.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.video.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.unit.data.bundles import ROVER, draw
from volano.data.readers.mapping import SCHEMA, Mapping

RATE = 10
CAMERAS = {"observation.images.front": (64, 64), "observation.images.back": (48, 64)}
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
TASKS = ["go to the red ball", "go to the blue box"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an episode holds."""

    number: int
    frames: int

    @property
    def first_number(self) -> int:
        """Drawn into the first frame."""
        return 100 * self.number + 7

    @property
    def state(self) -> NDArray[np.float32]:
        """(T, 2); the first column is the number in the frame, over 1000."""
        noise = np.random.default_rng(self.number).uniform(-1, 1, self.frames)
        return np.stack([(self.first_number + np.arange(self.frames)) / 1000, noise], axis=1).astype(np.float32)

    @property
    def action(self) -> NDArray[np.float32]:
        """(T, 2)."""
        return np.random.default_rng(100 + self.number).uniform(-1, 1, (self.frames, 2)).astype(np.float32)

    @property
    def instruction(self) -> str:
        """One of two."""
        return TASKS[self.number % 2]

    def images(self, height: int, width: int) -> list[NDArray[np.uint8]]:
        """Every frame, with its number drawn in."""
        return [draw(self.first_number + k, height, width) for k in range(self.frames)]


TRUTHS = [Truth(number=0, frames=12), Truth(number=1, frames=9), Truth(number=2, frames=14)]


def document(**changes: Any) -> dict[str, Any]:
    """A mapping from the LeRobot sources below to the rover, as plain data."""
    return {
        "schema": SCHEMA,
        "dataset": "old",
        "task": "go-to",
        "instruction": {"field": "task"},
        "outcome": {"success": True, "source": "operator"},
        "started_at": 1.7e9,
        "cameras": {"ego": {"field": "observation.images.front"}, "rear": {"field": "observation.images.back"}},
        "state": {
            "speed": {"field": "observation.state", "column": "speed", "unit": "m/s"},
            "yaw_rate": {"field": "observation.state", "column": 1, "unit": "rad/s"},
        },
        "action": {
            "speed": {"field": "action", "column": 0, "unit": "m/s"},
            "yaw_rate": {"field": "action", "column": 1, "unit": "rad/s"},
        },
        **changes,
    }


def renamed(names: dict[str, str], **changes: Any) -> dict[str, Any]:
    """The mapping with other foreign names: of `state`, `action`, `ego`, `rear`."""
    made = document(**changes)
    for part in ("state", "action"):
        for column, channel in enumerate(made[part].values()):
            channel |= {"field": names[part], "column": column}
    for camera in ("ego", "rear"):
        made["cameras"][camera] = {"field": names[camera]}
    return made


def parsed(data: dict[str, Any]) -> Mapping:
    """The mapping of a document; it fits the rover."""
    mapping = Mapping.from_bytes(json.dumps(data).encode())
    mapping.require_fits(ROVER)
    return mapping


def encode_joined(
    path: Path,
    parts: Sequence[Sequence[NDArray[np.uint8]]],
    codec: Literal["libx264", "libsvtav1"] = "libx264",
    **options: str,
) -> None:
    """One MP4 of several episodes, each beginning with a keyframe, but for the option `fresh` with an empty text."""
    fresh = options.pop("fresh", "yes")
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, _ = parts[0][0].shape
    settings = {"g": "15", "bf": "0", "preset": "veryfast"} if codec == "libx264" else {"g": "2", "preset": "12"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=RATE, options={**settings, **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        at = 0
        for images in parts:
            for number, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, RATE)
                if number == 0 and fresh:
                    frame.pict_type = av.video.frame.PictureType.I
                container.mux(stream.encode(frame))
                at += 1
        container.mux(stream.encode(None))


def png(image: NDArray[np.uint8], codec: Literal["png", "mjpeg"] = "png") -> bytes:
    """One image as a PNG or JPEG file."""
    target = io.BytesIO()
    height, width, _ = image.shape
    with av.open(target, "w", format="image2pipe") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()


def _info(version: str, truths: Sequence[Truth], *, images: bool, **paths: str) -> dict[str, Any]:
    vectors = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["speed", "yaw_rate"]},
        "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["left", "right"]}},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
    }
    cameras = {
        key: {
            "dtype": "image" if images else "video",
            "shape": [*shape, 3],
            "names": ["height", "width", "channels"],
            "info": {"video.is_depth_map": False},
        }
        for key, shape in CAMERAS.items()
    }
    counters = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in COUNTERS.items()}
    return {
        "codebase_version": version,
        "fps": RATE,
        "chunks_size": 1000,
        "total_episodes": len(truths),
        "total_frames": sum(truth.frames for truth in truths),
        "features": {**vectors, **cameras, **counters},
        **paths,
    }


def _table(truth: Truth, episode: int, start: int, *, images: bool) -> pa.Table:
    count = truth.frames
    columns: dict[str, Any] = {
        "observation.state": pa.array(list(truth.state), pa.list_(pa.float32(), 2)),
        "action": pa.array(list(truth.action), pa.list_(pa.float32())),
        "next.success": pa.array([k == count - 1 for k in range(count)]),
        "timestamp": pa.array((np.arange(count) / RATE).astype(np.float32)),
        "frame_index": pa.array(range(count), pa.int64()),
        "episode_index": pa.array([episode] * count, pa.int64()),
        "index": pa.array(range(start, start + count), pa.int64()),
        "task_index": pa.array([truth.number % 2] * count, pa.int64()),
    }
    if images:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for key, shape in CAMERAS.items():
            columns[key] = pa.array([{"bytes": png(i), "path": None} for i in truth.images(*shape)], kind)
    return pa.table(columns)


def _json_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_v2(root: Path, truths: Sequence[Truth] = TRUTHS, *, images: bool = False) -> Path:
    """A LeRobot v2.1 dataset."""
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    info = _info(
        "v2.1",
        truths,
        images=images,
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    (root / "meta/info.json").write_text(json.dumps(info))
    _json_lines(root / "meta/tasks.jsonl", [{"task_index": n, "task": task} for n, task in enumerate(TASKS)])
    rows = [{"episode_index": n, "tasks": [t.instruction], "length": t.frames} for n, t in enumerate(truths)]
    _json_lines(root / "meta/episodes.jsonl", rows)
    start = 0
    for number, truth in enumerate(truths):
        table = _table(truth, number, start, images=images)
        pq.write_table(table, root / f"data/chunk-000/episode_{number:06d}.parquet")
        start += truth.frames
        for key, shape in CAMERAS.items() if not images else ():
            encode_joined(root / f"videos/chunk-000/{key}/episode_{number:06d}.mp4", [truth.images(*shape)])
    return root


def write_v3(
    root: Path,
    truths: Sequence[Truth] = TRUTHS,
    *,
    codec: Literal["libx264", "libsvtav1"] = "libx264",
    shift_frames: int = 0,
    **options: str,
) -> Path:
    """A LeRobot v3.0 dataset: all episodes in one table and one video per camera. `shift_frames` moves where every
    episode but the first claims to begin in its video."""
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    name = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    paths = {"data_path": f"data/{name}.parquet", "video_path": f"videos/{{video_key}}/{name}.mp4"}
    (root / "meta/info.json").write_text(json.dumps(_info("v3.0", truths, images=False, **paths)))
    index = {"task_index": list(range(len(TASKS))), "__index_level_0__": TASKS}
    pq.write_table(pa.table(index), root / "meta/tasks.parquet")
    tables, rows, start = [], [], 0
    for number, truth in enumerate(truths):
        tables.append(_table(truth, number, start, images=False))
        row = {
            "episode_index": number,
            "tasks": [truth.instruction],
            "length": truth.frames,
            "dataset_from_index": start,
            "dataset_to_index": start + truth.frames,
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for key in CAMERAS:
            begin = (start + (shift_frames if number else 0)) / RATE
            row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
            row |= {f"videos/{key}/from_timestamp": begin, f"videos/{key}/to_timestamp": begin + truth.frames / RATE}
        rows.append(row)
        start += truth.frames
    with pq.ParquetWriter(root / "data/chunk-000/file-000.parquet", tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    for key, shape in CAMERAS.items():
        parts = [truth.images(*shape) for truth in truths]
        encode_joined(root / f"videos/{key}/chunk-000/file-000.mp4", parts, codec, **options)
    return root
