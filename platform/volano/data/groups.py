"""The groups of pictures of a dataset's videos: what is fetched and decoded alone, with its place and its SHA-256.

Written when a dataset is, as `volano/videos.parquet` and `volano/groups.parquet`. Their hashes stand in the version, so
a part of a video that was read from a store is as sure as a whole file. A group begins with a picture that a decoder
can start at, and holds all up to the next such one; its frames stand in the order in which they are shown.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from volano.data.lerobot_layout import CAMERA_PREFIX
from volano.errors import Code, DataError

VIDEOS, GROUPS = "volano/videos.parquet", "volano/groups.parquet"
"""Below a dataset's folder."""
VIDEO_SCHEMA = pa.schema([("camera", pa.string()), ("path", pa.string()), ("headers", pa.binary())])
"""`path` below the dataset's folder; `headers` are what a decoder needs before the first frame."""
GROUP_SCHEMA = pa.schema(
    [("video", pa.int32()), ("offset", pa.int64()), ("sizes", pa.list_(pa.int32())), ("sha256", pa.binary(32))]
)
"""`video` is a row of the other table, `offset` that of the first byte in its file, `sizes` the bytes of each frame;
frames stand one behind the other. In the order of the videos, and within one of its frames."""
_IDR = 5


def write_groups(folder: Path, cameras: Sequence[str], fps: int) -> None:
    """Describe every video of a dataset's folder. Raises DataError(E-DATA-012) for one that cannot be cut."""
    videos: list[dict[str, Any]] = []
    with pq.ParquetWriter(folder / GROUPS, GROUP_SCHEMA) as writer:
        for camera in cameras:
            for path in sorted((folder / "videos" / (CAMERA_PREFIX + camera)).glob("*/*.mp4")):
                headers, groups = cut(path, fps)
                rows = [{"video": len(videos), **group} for group in groups]
                writer.write_table(pa.Table.from_pylist(rows, GROUP_SCHEMA))
                videos.append({"camera": camera, "path": path.relative_to(folder).as_posix(), "headers": headers})
    pq.write_table(pa.Table.from_pylist(videos, VIDEO_SCHEMA), folder / VIDEOS)


def cut(path: Path, fps: int) -> tuple[bytes, list[dict[str, Any]]]:
    """The headers of a video, and its groups as rows without their video. Raises DataError(E-DATA-012) where frame k
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
    """Whether a decoder can start at a frame of H.264 as MP4 holds it: whether it has a slice of an IDR picture."""
    if len(headers) < 5 or headers[0] != 1:
        return False
    width, place = (headers[4] & 3) + 1, 0
    while place + width < len(frame):
        if frame[place + width] & 31 == _IDR:
            return True
        place += width + int.from_bytes(frame[place : place + width])
    return False


def _refused(path: Path, cause: str) -> DataError:
    return DataError(Code.DATA_DECODER, f"{path.name}: {cause}", "encode the video again, as H.264 in MP4")
