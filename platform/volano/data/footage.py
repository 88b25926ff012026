"""All frames of a version's videos, numbered from 0 on, and where the bytes of each stand: numbers and no pictures.

Relies on the tables of `volano.data.groups`. Plain arrays, so that it can be sent to whoever decodes, and be shared
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.groups import GROUPS, HEADERS, SCHEMA, VIDEOS
from volano.data.lerobot_layout import CAMERA_PREFIX
from volano.data.version import DatasetVersion, object_key
from volano.embodiment.contract import Camera, Embodiment
from volano.errors import Code, DataError

_NO_HASH = np.empty((0, 32), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Frames that are fetched and decoded together."""

    path: str
    """Of their file, below the version's folder."""
    headers: bytes
    first: int
    """Number of the first frame."""
    offset: int
    """Of the first byte in the file."""
    sizes: NDArray[np.int32]
    """Bytes of each frame."""
    sha256: bytes
    size: int
    """Bytes of all of them."""
    shape: tuple[int, int]
    """Height and width of a frame."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Every group of a version."""

    paths: tuple[str, ...]
    """Of each file, below the version's folder."""
    headers: tuple[bytes, ...]
    shapes: NDArray[np.int32]
    """(files, 2): height and width of a frame."""
    files: NDArray[np.int32]
    """(groups,): position of its file."""
    offsets: NDArray[np.int64]
    """(groups,)."""
    starts: NDArray[np.int64]
    """(groups + 1,): number of its first frame."""
    sizes: NDArray[np.int32]
    """(frames,)."""
    sha256: NDArray[np.uint8]
    """(groups, 32)."""

    @classmethod
    def read(cls, folder: Path, robots: Mapping[str, Embodiment]) -> Self:
        """Of a version whose tables stand in a folder. Raises DataError(E-DATA-013) where they lack the groups."""
        found = [_of_camera(folder, tag, one) for tag in sorted(robots) for one in robots[tag].cameras]
        videos = [video for several in found for video in several]
        groups = pa.concat_tables([SCHEMA.empty_table(), *(video.groups for video in videos)]).combine_chunks()
        lengths = pc.list_value_length(groups["sizes"]).to_numpy()
        return cls(
            paths=tuple(video.path for video in videos),
            headers=tuple(video.headers for video in videos),
            shapes=np.array([video.shape for video in videos], np.int32).reshape(-1, 2),
            files=np.repeat(np.arange(len(videos), dtype=np.int32), [len(video.groups) for video in videos]),
            offsets=groups["offset"].to_numpy(),
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            sizes=pc.list_flatten(groups["sizes"]).to_numpy(),
            sha256=np.concatenate([_NO_HASH, *map(_hashes, groups["sha256"].chunks)]),
        )

    def keys(self, version: DatasetVersion) -> dict[str, str]:
        """Path of each file to the key of its object; raises DataError(E-DATA-013) where the version lacks one."""
        return {path: object_key(version, path) for path in self.paths}

    def groups_of(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each frame's group."""
        return np.searchsorted(self.starts, frames, side="right") - 1

    def group(self, number: int) -> Group:
        """One of them."""
        first, end = self.starts[number : number + 2].tolist()
        file = int(self.files[number])
        height, width = self.shapes[file].tolist()
        return Group(
            path=self.paths[file],
            headers=self.headers[file],
            first=first,
            offset=int(self.offsets[number]),
            sizes=self.sizes[first:end],
            size=int(self.sizes[first:end].sum()),
            sha256=self.sha256[number].tobytes(),
            shape=(height, width),
        )

    def begins_of(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each begins in a row of their pictures, and where that ends: shape (frames + 1,), bytes."""
        sizes = 3 * self.shapes[self.files[self.groups_of(frames)]].prod(axis=1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def images(self, frames: NDArray[np.int64], row: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The pictures in such a row, uint8 RGB of shape (height, width, 3), without a copy."""
        shapes = self.shapes[self.files[self.groups_of(frames)]].tolist()
        ends = pairwise(self.begins_of(frames).tolist())
        return [
            row[begin:end].reshape(height, width, 3) for (begin, end), (height, width) in zip(ends, shapes, strict=True)
        ]

    def first_frames(self) -> dict[str, int]:
        """Number of the first frame of each file."""
        groups = np.searchsorted(self.files, np.arange(len(self.paths)))
        return dict(zip(self.paths, self.starts[groups].tolist(), strict=True))


def _hashes(column: pa.FixedSizeBinaryArray) -> NDArray[np.uint8]:
    whole = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, 32)
    return whole[column.offset : column.offset + len(column)]


@dataclass(frozen=True, kw_only=True)
class _Video:
    path: str
    headers: bytes
    shape: tuple[int, int]
    groups: pa.Table


def _of_camera(folder: Path, tag: str, camera: Camera) -> list[_Video]:
    name = CAMERA_PREFIX + camera.name
    tables = sorted((folder / tag / GROUPS / name).glob("*/*.parquet"))
    if not tables:
        cause = f"nothing says where the pictures of {camera.name} of {tag!r} stand, so they cannot be streamed"
        raise DataError(Code.DATA_VERSION, cause, "build the version again")
    return [_video(path, f"{tag}/{VIDEOS}/{name}", camera) for path in tables]


def _video(path: Path, folder: str, camera: Camera) -> _Video:
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA) or HEADERS not in (table.schema.metadata or {}):
        raise DataError(Code.DATA_VERSION, f"{path.name} of {camera.name} has other columns", "build the version again")
    return _Video(
        path=f"{folder}/{path.parent.name}/{path.stem}.mp4",
        headers=table.schema.metadata[HEADERS],
        shape=(camera.height, camera.width),
        groups=table.replace_schema_metadata(None),
    )
