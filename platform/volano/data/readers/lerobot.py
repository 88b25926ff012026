"""What LeRobotDataset v2.x and v3.0 share: info.json, features, and rows that prove to which episode they belong.

Stock readers let wrong numbering, shifted rows and tasks out of order through unseen (and answer with other frames,
actions and texts); here each of them refuses the episode.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from volano.data.readers import image
from volano.data.readers.files import inside, read_json
from volano.data.readers.foreign import (
    MAX_FRAMES,
    MAX_SIDE,
    MAX_WIDTH,
    Field,
    ForeignImages,
    ImageArray,
    Rows,
    refuse,
    require,
    understood,
)
from volano.data.readers.parquet import column, floats, integers, matrix
from volano.errors import Code

INFO = "meta/info.json"
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_NUMBERS = frozenset(
    ("bool", "float16", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)


@dataclass(frozen=True, kw_only=True)
class Described:
    """A dataset's info.json."""

    root: Path
    version: str
    rate_hz: float
    fields: dict[str, Field]
    cameras: dict[str, tuple[str, int, int]]
    """Key to (`video` or `image`, height, width). Depth images are left out."""
    data_path: str
    video_path: str
    files_per_chunk: int


def describe(root: Path) -> Described:
    """Read info.json; raises DataError(E-DATA-080) when it describes no dataset."""
    with understood(INFO):
        data: dict[str, Any] = read_json(inside(root, INFO))
        rate = data["fps"]
        require(type(rate) in (int, float) and 0 < rate <= 1000, "fps in info.json is not a rate")
        require(isinstance(data["features"], dict), "features in info.json are no object")
        chunks = data["chunks_size"]
        require(type(chunks) is int and chunks > 0, "chunks_size in info.json is not a count")
        return Described(
            root=root,
            version=str(data["codebase_version"]),
            rate_hz=float(rate),
            fields={key: _field(key, feature) for key, feature in data["features"].items() if _is_field(key, feature)},
            cameras={key: _camera(key, feature) for key, feature in data["features"].items() if _is_camera(feature)},
            data_path=str(data["data_path"]),
            video_path=str(data.get("video_path") or ""),
            files_per_chunk=chunks,
        )


def _is_field(key: str, feature: dict[str, Any]) -> bool:
    return key not in COUNTERS and feature["dtype"] in _NUMBERS


def _is_camera(feature: dict[str, Any]) -> bool:
    described = feature.get("info") or feature.get("video_info") or {}
    return feature["dtype"] in ("video", "image") and not described.get("video.is_depth_map", False)


def _field(key: str, feature: dict[str, Any]) -> Field:
    shape = feature["shape"]
    require(all(type(side) is int and 0 < side <= MAX_WIDTH for side in shape), f"the shape of {key!r}")
    width = int(np.prod(shape or [1], dtype=object))
    require(width <= MAX_WIDTH, f"{key!r} has {width} numbers a row", Code.DATA_SIZE)
    names = feature.get("names")
    if isinstance(names, dict):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [])]
    named = isinstance(names, list) and len(names) == width and all(isinstance(name, str) for name in names)
    return Field(width=width, dtype=feature["dtype"], names=tuple(names) if named and names else ())


def _camera(key: str, feature: dict[str, Any]) -> tuple[str, int, int]:
    shape = list(feature["shape"])
    require(len(shape) == 3 and all(type(side) is int for side in shape), f"the shape of camera {key!r}")
    height, width, channels = shape if shape[2] == 3 else (shape[1], shape[2], shape[0])
    require(channels == 3, f"camera {key!r} has {channels} channels")
    require(0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE, f"camera {key!r} is {height} x {width}", Code.DATA_SIZE)
    return feature["dtype"], height, width


def task_of(rows: pa.Table, episode: int, start: int, tasks: list[str], listed: list[str]) -> str:
    """The instruction of an episode's rows, which start at row `start` of the dataset; raises DataError(E-DATA-080)
    when their counters contradict the episode, and when there is more than one instruction."""
    count = len(rows)
    require(0 < count <= MAX_FRAMES, f"episode {episode} has {count} rows")
    require(bool((integers(rows, "episode_index") == episode).all()), f"rows of episode {episode} belong to another")
    wanted = np.arange(count)
    require(np.array_equal(integers(rows, "frame_index"), wanted), f"rows of episode {episode} are not in order")
    require(np.array_equal(integers(rows, "index"), start + wanted), f"`index` of episode {episode} is not its place")
    numbers = np.unique(integers(rows, "task_index"))
    require(len(numbers) == 1, f"episode {episode} has {len(numbers)} instructions; one is needed")
    require(0 <= numbers[0] < len(tasks), f"episode {episode} names task {numbers[0]} of {len(tasks)}")
    task = tasks[int(numbers[0])]
    require(task in listed, f"rows and list of episode {episode} name different instructions")
    return task


def rows_of(read: Callable[[Collection[str]], pa.Table], described: Described, names: Collection[str]) -> Rows:
    """The named fields of an episode whose columns `read` gives."""
    table = read({"timestamp", *names})
    times = floats(table, "timestamp")
    return Rows(
        timestamp=times - times[0],
        numbers={name: matrix(table, name, described.fields[name].width) for name in names},
    )


def images_of(read: Callable[[Collection[str]], pa.Table], key: str, height: int, width: int) -> ForeignImages:
    """A camera whose images stand in the table itself, each a struct of bytes and path; raises DataError(E-DATA-080)
    when the bytes are elsewhere."""

    def each() -> Iterator[ImageArray]:
        for data in _image_bytes(read({key}), key):
            yield image.decode_image(data, height, width)

    first = next(_image_bytes(read({key}), key), b"")
    return ForeignImages(height=height, width=width, coding=image.coding(first), read=each)


def _image_bytes(table: pa.Table, key: str) -> Iterator[bytes]:
    for chunk in column(table, key).chunks:
        storage = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        if not pa.types.is_struct(storage.type) or storage.type.get_field_index("bytes") < 0:
            raise refuse(f"the images of {key!r} are not in the table")
        for value in storage.field("bytes"):
            data = value.as_py()
            if not isinstance(data, bytes):
                raise refuse(f"an image of {key!r} is not in the table")
            yield data
