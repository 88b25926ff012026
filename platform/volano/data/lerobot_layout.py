"""The LeRobotDataset v3 format as values: names, schemas, info, tasks. Nothing here touches a disk.

Written from the format's description in the readers of LeRobot 0.4.4 and 0.6.1; keys we add for ourselves live in
the `volano/` sidecar, not here.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from volano.embodiment.contract import Camera, Channel, Embodiment

CAMERA_PREFIX = "observation.images."
FILES_PER_CHUNK = 1000
DATA_BYTES_PER_FILE = 100 << 20
VIDEO_BYTES_PER_FILE = 200 << 20
EPISODES, OWN_EPISODES = "meta/episodes", "volano/episodes.parquet"
"""LeRobot's table of episodes, a file for each part; and ours."""
OWN_FRAMES = "volano/frames"
"""Our table of frames, a file for each part."""
OWN_SUMS = "volano/totals"
"""Sums over the episodes of a part, a file for each."""
TASKS = "meta/tasks.parquet"
STATISTICS_FILE = "volano/statistics.json"
"""Of the sidecar: statistics by weight; LeRobot's own, of each row once, stand in meta/stats.json."""
_COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def features(embodiment: Embodiment) -> dict[str, Any]:
    """The `features` of info.json."""
    return {
        "observation.state": _vector(embodiment.state),
        "action": _vector(embodiment.action),
        **{CAMERA_PREFIX + camera.name: _video(camera, int(embodiment.rate_hz)) for camera in embodiment.cameras},
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _COUNTERS.items()},
    }


def _vector(channels: Sequence[Channel]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(channels)], "names": [channel.name for channel in channels]}


def _video(camera: Camera, fps: int) -> dict[str, Any]:
    return {
        "dtype": "video",
        "shape": [camera.height, camera.width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": camera.height,
            "video.width": camera.width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def numbered(folder: str, number: int, suffix: str) -> str:
    """The path of a folder's file of this number."""
    return f"{folder}/chunk-{number // FILES_PER_CHUNK:03d}/file-{number % FILES_PER_CHUNK:03d}.{suffix}"


def info(embodiment: Embodiment, *, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """The content of meta/info.json."""
    return {
        "codebase_version": "v3.0",
        "robot_type": embodiment.tag,
        "fps": int(embodiment.rate_hz),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_BYTES_PER_FILE >> 20,
        "video_files_size_in_mb": VIDEO_BYTES_PER_FILE >> 20,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "splits": {"train": f"0:{episodes}"},
        "features": features(embodiment),
    }


def frame_schema(embodiment: Embodiment) -> pa.Schema:
    """Columns of data/*.parquet; a vector of one number is a scalar there."""
    return pa.schema(
        [
            ("observation.state", _kind(len(embodiment.state))),
            ("action", _kind(len(embodiment.action))),
            *((name, pa.type_for_alias(dtype)) for name, dtype in _COUNTERS.items()),
        ]
    )


def _kind(width: int) -> pa.DataType:
    return pa.float32() if width == 1 else pa.list_(pa.float32(), width)


def episode_schema(embodiment: Embodiment) -> pa.Schema:
    """Columns of meta/episodes/*.parquet."""
    numbers = ("length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")
    fields = [
        ("episode_index", pa.int64()),
        ("tasks", pa.list_(pa.string())),
        *((name, pa.int64()) for name in numbers),
    ]
    for camera in embodiment.cameras:
        prefix = f"videos/{CAMERA_PREFIX}{camera.name}"
        fields += [(f"{prefix}/chunk_index", pa.int64()), (f"{prefix}/file_index", pa.int64())]
        fields += [(f"{prefix}/from_timestamp", pa.float64()), (f"{prefix}/to_timestamp", pa.float64())]
    fields += [("meta/episodes/chunk_index", pa.int64()), ("meta/episodes/file_index", pa.int64())]
    return pa.schema(fields)


def own_episode_schema() -> pa.Schema:
    """Columns of volano/episodes.parquet."""
    segment = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("kind", pa.string())])
    return pa.schema(
        [
            ("episode_index", pa.int64()),
            ("content_id", pa.string()),
            ("robot", pa.string()),
            ("attempt", pa.string()),
            ("task", pa.string()),
            ("started_at", pa.float64()),
            ("segments", pa.list_(segment)),
            ("skipped", pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))),
            ("success", pa.bool_()),
            ("autonomous", pa.bool_()),
            ("outcome_source", pa.string()),
            ("policies", pa.list_(pa.string())),
            ("rollout", pa.string()),
            ("arm", pa.string()),
            ("weight", pa.float64()),
        ]
    )


def own_frame_schema() -> pa.Schema:
    """Columns of volano/frames/*.parquet; `timestamp` is the robot's own clock in seconds from the start."""
    texts = [(name, pa.string()) for name in ("segment", "policy", "request", "executed")]
    numbers = [("episode_index", pa.int64()), ("frame_index", pa.int64()), ("timestamp", pa.float64())]
    return pa.schema([*numbers, *texts])


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """meta/tasks.parquet: a pandas frame whose index is the text. Readers take a text by its row, so rows stand in
    the order of task_index. The frame's description is written here, so that bytes do not depend on pandas."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
        for name, kind, dtype in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    header = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    frame = {
        "index_columns": ["task"],
        "column_indexes": [{**header, "metadata": {"encoding": "UTF-8"}}],
        "columns": columns,
        "creator": {"library": "volano", "version": "1"},
        "pandas_version": "2.3.3",
    }
    schema = pa.schema([("task_index", pa.int64()), ("task", pa.string())], metadata={"pandas": json.dumps(frame)})
    return pa.table({"task_index": list(range(len(tasks))), "task": list(tasks)}, schema=schema)
