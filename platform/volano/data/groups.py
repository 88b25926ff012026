"""The groups of pictures of a dataset's videos: what is fetched and decoded alone, with its place and its SHA-256.

Written when a dataset is, a table for each video under `volano/groups`. Their hashes stand in the version, so a part of
a video that was read from a store is as sure as a whole file. A group begins with a picture that a decoder can start
at, and holds all up to the next such one; its frames stand in the order in which they are shown.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from volano.errors import Code, DataError

VIDEOS, GROUPS = "videos", "volano/groups"
"""Below a dataset's folder; what is `A.mp4` in the one is described by `A.parquet` in the other."""
HEADERS = b"headers"
"""In a table's metadata: what a decoder needs before the first frame."""
SCHEMA = pa.schema([("offset", pa.int64()), ("sizes", pa.list_(pa.int32())), ("sha256", pa.binary(32))])
"""`offset` is that of the first byte in the file, `sizes` are the bytes of each frame, one behind the other."""
_IDR = 5
_BOX = struct.Struct(">I4sQ")
"""Length and name of a box of an MP4, and its length when the first one is 1."""
_SHORT_BOX = 8


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where a video that was just written is cut."""

    path: Path
    headers: bytes
    sizes: Sequence[Sequence[int]]
    """Bytes of each frame, by group."""


def write_groups(folder: Path, videos: Iterable[Cuts]) -> None:
    """Describe videos of a dataset's folder. Raises DataError(E-DATA-013) for one that does not hold its frames one
    behind the other."""
    for video in videos:
        table = (folder / GROUPS / video.path.relative_to(folder / VIDEOS)).with_suffix(".parquet")
        table.parent.mkdir(parents=True, exist_ok=True)
        schema = SCHEMA.with_metadata({HEADERS: video.headers})
        pq.write_table(pa.Table.from_pylist(_rows(video), schema), table)


def _rows(video: Cuts) -> list[dict[str, Any]]:
    sizes = [sum(group) for group in video.sizes]
    rows = []
    with video.path.open("rb") as source:
        offset = _first(source, sum(sizes))
        if offset is None:
            cause = f"{video.path.name} does not hold its frames one behind the other"
            raise DataError(Code.DATA_VERSION, cause, "build the version again from its episodes")
        source.seek(offset)
        for frames, size in zip(video.sizes, sizes, strict=True):
            sha256 = hashlib.sha256(source.read(size)).digest()
            rows.append({"offset": offset, "sizes": frames, "sha256": sha256})
            offset += size
    return rows


def _first(source: BinaryIO, size: int) -> int | None:
    """Where the one box of an MP4 that holds frames begins to hold them; None when there is none of just that size."""
    place, end = 0, source.seek(0, SEEK_END)
    while place + _BOX.size <= end:
        source.seek(place)
        length, name, large = _BOX.unpack(source.read(_BOX.size).ljust(_BOX.size, b"\0"))
        head, length = (_BOX.size, large) if length == 1 else (_SHORT_BOX, length)
        if name == b"mdat":
            return place + head if length == head + size else None
        place += max(length, _SHORT_BOX)
    return None


def is_start(frame: bytes | memoryview, headers: bytes) -> bool:
    """Whether a decoder can start at a frame of H.264 as MP4 holds it: whether it has a slice of an IDR picture. The
    flag of a keyframe does not say so: encoders also set it where a picture begins to be renewed bit by bit."""
    if len(headers) < 5 or headers[0] != 1:
        return False
    width, place = (headers[4] & 3) + 1, 0
    while place + width < len(frame):
        if frame[place + width] & 31 == _IDR:
            return True
        place += width + int.from_bytes(frame[place : place + width])
    return False
