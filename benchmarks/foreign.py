"""Datasets that a lab already has, for the benchmarks: attempts as a LeRobot v2.1 folder with AV1 videos, as LeRobot
writes them, and the mapping to their robot's contract."""

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.attempts import pictures
from tests.unit.data.bundles import Draft, columns
from volano.data.readers.child import Request
from volano.data.readers.mapping import SCHEMA, Mapping
from volano.embodiment.contract import Channel, Embodiment

_AV1 = {"g": "2", "crf": "10", "preset": "12"}
"""LeRobot's settings but for crf, which is 30 there: made-up noise would be lost between two pictures, which a gate
takes for one picture told twice."""
os.environ.setdefault("SVT_LOG", "1")  # errors only
_EPISODE = "episode_{episode_index:06d}"
_VECTORS = {"state": "observation.state", "action": "action"}


def dataset(root: Path, drafts: Sequence[Draft]) -> Path:
    """Attempts of one robot as a foreign dataset."""
    robot, start = drafts[0].embodiment, 0
    for name in ("meta", "data/chunk-000"):
        (root / name).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(_info(robot, drafts)))
    tasks = sorted({one.instruction for one in drafts})
    _lines(root / "meta/tasks.jsonl", [{"task_index": n, "task": task} for n, task in enumerate(tasks)])
    listed = [{"episode_index": n, "tasks": [one.instruction], "length": one.frames} for n, one in enumerate(drafts)]
    _lines(root / "meta/episodes.jsonl", listed)
    for number, one in enumerate(drafts):
        table = _table(one, number, start, tasks.index(one.instruction))
        pq.write_table(table, root / f"data/chunk-000/{_EPISODE.format(episode_index=number)}.parquet")
        for name, images in pictures(one).items():
            _encode(video(root, name, number), images, int(robot.rate_hz))
        start += one.frames
    return root


def video(root: Path, camera: str, episode: int) -> Path:
    """Where a camera's film of an episode is."""
    return root / f"videos/chunk-000/{camera}/{_EPISODE.format(episode_index=episode)}.mp4"


def request(root: Path, robot: Embodiment, name: str, workers: int) -> Request:
    """To convert all of it into the episodes of this robot."""
    document = {
        "schema": SCHEMA,
        "dataset": "old",
        "task": "go-to",
        "instruction": {"field": "task"},
        "outcome": {"success": True, "source": "operator"},
        "started_at": 1.7e9,
        "cameras": {camera.name: {"field": camera.name} for camera in robot.cameras},
        "state": _mapped(_VECTORS["state"], robot.state),
        "action": _mapped(_VECTORS["action"], robot.action),
    }
    text = json.dumps(document)
    mapping = Mapping.from_bytes(text.encode())
    return Request(source=root, embodiment=robot, mapping=mapping, mapping_text=text, robot=name, workers=workers)


def _mapped(field: str, channels: Sequence[Channel]) -> dict[str, object]:
    return {one.name: {"field": field, "column": n, "unit": one.unit} for n, one in enumerate(channels)}


def _info(robot: Embodiment, drafts: Sequence[Draft]) -> dict[str, Any]:
    counters = ("frame_index", "episode_index", "index", "task_index")
    features: dict[str, object] = {name: {"dtype": "int64", "shape": [1], "names": None} for name in counters}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for vector, channels in (("state", robot.state), ("action", robot.action)):
        features[_VECTORS[vector]] = {
            "dtype": "float32",
            "shape": [len(channels)],
            "names": [one.name for one in channels],
        }
    for camera in robot.cameras:
        shape = [camera.height, camera.width, 3]
        features[camera.name] = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
    return {
        "codebase_version": "v2.1",
        "fps": int(robot.rate_hz),
        "chunks_size": 1000,
        "total_episodes": len(drafts),
        "total_frames": sum(one.frames for one in drafts),
        "features": features,
        "data_path": f"data/chunk-{{episode_chunk:03d}}/{_EPISODE}.parquet",
        "video_path": f"videos/chunk-{{episode_chunk:03d}}/{{video_key}}/{_EPISODE}.mp4",
    }


def _table(wanted: Draft, number: int, start: int, task: int) -> pa.Table:
    found, count = columns(wanted), wanted.frames
    vectors = {field: pa.array(list(found[vector]), pa.list_(pa.float32())) for vector, field in _VECTORS.items()}
    return pa.table(
        {
            **vectors,
            "timestamp": pa.array((np.arange(count) / wanted.embodiment.rate_hz).astype(np.float32)),
            "frame_index": pa.array(range(count), pa.int64()),
            "episode_index": pa.array([number] * count, pa.int64()),
            "index": pa.array(range(start, start + count), pa.int64()),
            "task_index": pa.array([task] * count, pa.int64()),
        }
    )


def _encode(path: Path, images: Sequence[NDArray[np.uint8]], rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, _ = images[0].shape
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libsvtav1", rate=rate, options=_AV1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
