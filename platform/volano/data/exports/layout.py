"""The LeRobotDataset v2.1 format as values: names, schemas, lists and the modality map; nothing here touches a disk.

One Parquet file and one video per camera for each episode, as the code bases that stayed with this version read them.
Vectors of one number are lists too: their readers take a slice of each row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volano.data import lerobot_layout
from volano.data.lerobot_layout import CAMERA_PREFIX, FILES_PER_CHUNK
from volano.embodiment.contract import Channel, Embodiment

INSTRUCTION = "human.action.task_description"
"""Name of the instruction in the modality map; its column has `annotation.` before it."""
_ANNOTATION = f"annotation.{INSTRUCTION}"
_COUNTERS = ("frame_index", "episode_index", "index", "task_index", _ANNOTATION)
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def data_file(episode: int) -> str:
    """Path of an episode's table."""
    return _DATA.format(episode_chunk=episode // FILES_PER_CHUNK, episode_index=episode)


def video_file(episode: int, camera: str) -> str:
    """Path of an episode's video from the camera of that name."""
    chunk = episode // FILES_PER_CHUNK
    return _VIDEO.format(episode_chunk=chunk, episode_index=episode, video_key=CAMERA_PREFIX + camera)


def info(embodiment: Embodiment, *, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """The content of meta/info.json."""
    annotation = {"dtype": "int64", "shape": [1], "names": None}
    return {
        "codebase_version": "v2.1",
        "robot_type": embodiment.tag,
        "fps": int(embodiment.rate_hz),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "total_videos": episodes * len(embodiment.cameras),
        "total_chunks": -(-episodes // FILES_PER_CHUNK),
        "chunks_size": FILES_PER_CHUNK,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": _VIDEO,
        "features": {**lerobot_layout.features(embodiment), _ANNOTATION: annotation},
    }


def frame_schema(embodiment: Embodiment) -> pa.Schema:
    """Columns of an episode's table."""
    return pa.schema(
        [
            ("observation.state", pa.list_(pa.float32(), len(embodiment.state))),
            ("action", pa.list_(pa.float32(), len(embodiment.action))),
            ("timestamp", pa.float32()),
            *((name, pa.int64()) for name in _COUNTERS),
        ]
    )


def frame_table(
    embodiment: Embodiment,
    state: NDArray[np.float32],
    action: NDArray[np.float32],
    *,
    episode: int,
    position: int,
    task: int,
) -> pa.Table:
    """An episode's table from (T, channels) rows of a version, which starts at row `position` of the export. State and
    action keep every bit; times and counters begin anew."""
    length = len(state)
    ticks = np.arange(length, dtype=np.int64)
    arrays = {
        "observation.state": _rows(state),
        "action": _rows(action),
        "timestamp": pa.array((ticks / int(embodiment.rate_hz)).astype(np.float32)),
        "frame_index": pa.array(ticks),
        "episode_index": pa.array(np.full(length, episode, np.int64)),
        "index": pa.array(ticks + position),
        "task_index": pa.array(np.full(length, task, np.int64)),
        _ANNOTATION: pa.array(np.full(length, task, np.int64)),
    }
    schema = frame_schema(embodiment)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _rows(values: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def modality(embodiment: Embodiment) -> dict[str, Any]:
    """The content of meta/modality.json: every channel is a group of its own, under its name in the contract."""
    measured = {(channel.name, channel.unit) for channel in embodiment.state}
    return {
        "state": _groups("observation.state", embodiment.state, [True] * len(embodiment.state)),
        "action": _groups("action", embodiment.action, [(one.name, one.unit) in measured for one in embodiment.action]),
        "video": {camera.name: {"original_key": CAMERA_PREFIX + camera.name} for camera in embodiment.cameras},
        "annotation": {INSTRUCTION: {}},
    }


def _groups(column: str, channels: Sequence[Channel], absolute: Sequence[bool]) -> dict[str, Any]:
    """`absolute` is whether a channel means a value of the state, and not a change: then an episode's last row is
    repeated behind its end, and else zeros."""
    return {
        channel.name: {
            "original_key": column,
            "start": place,
            "end": place + 1,
            "absolute": means_value,
            "dtype": "float32",
            "range": [channel.low, channel.high],
        }
        for place, (channel, means_value) in enumerate(zip(channels, absolute, strict=True))
    }
