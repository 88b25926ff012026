"""The groups of pictures of a dataset's videos: what is fetched and decoded alone, with its place and its SHA-256.

Written when a dataset is, a table for each video under `volano/groups`. Their hashes stand in the version, so a part of
a video that was read from a store is as sure as a whole file. A group begins with a picture that a decoder can start
at, and holds all up to the next such one; its frames stand in the order in which they are shown.
"""

import hashlib
from pathlib import Path
from typing import Any

import av
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


def write_groups(folder: Path, fps: int) -> None:
    """Describe every video in a dataset's folder. Raises DataError(E-DATA-013) for one that cannot be cut."""
    for path in sorted((folder / VIDEOS).rglob("*.mp4")):
        headers, groups = cut(path, fps)
        table = (folder / GROUPS / path.relative_to(folder / VIDEOS)).with_suffix(".parquet")
        table.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(groups, SCHEMA.with_metadata({HEADERS: headers})), table)


def cut(path: Path, fps: int) -> tuple[bytes, list[dict[str, Any]]]:
    """The headers of a video, and its groups as rows. Raises DataError(E-DATA-013) where frame k
    does not stand behind frame k - 1 or is not shown at k / fps, and where no decoder can start at the first."""
    groups: list[dict[str, Any]] = []
    end = 0
    with av.open(str(path), mode="r", format="mp4") as container:
        stream = container.streams.video[0]
        headers = bytes(stream.codec_context.extradata or b"")
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            if packet.pts is None or packet.time_base is None or packet.pts * packet.time_base * fps != number:
                raise _refused(path, f"frame {number} is not shown at its time")
            if is_start(bytes(packet), headers):
                groups.append({"offset": packet.pos, "sizes": []})
            elif not groups or packet.pos != end:
                raise _refused(path, f"no decoder can start at frame {number}, nor go on to it")
            groups[-1]["sizes"].append(packet.size)
            end = (packet.pos or 0) + packet.size
    with path.open("rb") as source:
        for group in groups:
            source.seek(group["offset"])
            group["sha256"] = hashlib.sha256(source.read(sum(group["sizes"]))).digest()
    return headers, groups


def is_start(frame: bytes, headers: bytes) -> bool:
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


def _refused(path: Path, cause: str) -> DataError:
    return DataError(Code.DATA_VERSION, f"{path.name}: {cause}", "encode the video again, as H.264 in MP4")
