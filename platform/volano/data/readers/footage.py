"""Foreign videos: what a file holds, and how an episode's frames become a camera's video of a bundle.

In this order: the file itself, byte for byte, when it is what the contract wants; its packets in a new file, when only
other episodes stand around them; else every frame is decoded and encoded once more. Frames are found by their time and
counted, never taken on trust. Container and codecs are pinned, as in the gate.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from volano.data.groups import is_start
from volano.data.readers.foreign import MAX_SIDE, ForeignVideo, ImageArray, refuse, require, understood
from volano.data.video import ColourConverter
from volano.embodiment.contract import Camera
from volano.errors import Code
from volano.storage.files import open_plain

Treatment = Literal["copy", "cut", "encode"]
_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
_CODECS = frozenset({"h264", "hevc", "av1", "vp9"})
_TIME_TOLERANCE_FRAMES = 0.25
_SAME_TIME_S = 1e-6
_MAX_PACKETS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an MP4 says of itself before anything is decoded."""

    codec: str
    pixels: str
    height: int
    width: int
    streams: int
    times: NDArray[np.float64]
    """(N,), when each frame is shown, in seconds, in this order."""
    sizes: NDArray[np.int64]
    """(N,), bytes of the packets in the order of the file."""
    keys: NDArray[np.bool_]
    """(N,), at which packets a decoder can start, in the order of the file."""
    reordered: bool
    """Whether packets stand in another order than frames are shown."""
    mixed: bool
    """Whether the encoder's settings change on the way."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where an episode lies in a video, and what will be done."""

    start: int
    """Frames before it."""
    frames: int
    treatment: Treatment
    reason: str
    """Why it is encoded again; empty otherwise."""
    size: int
    """Bytes of its packets."""


def look(path: Path) -> Facts:
    """Demux a whole video, once as long as the file stays as it is; raises DataError: E-DATA-001 when it is none or is
    cut off, E-DATA-080 for a codec that is not taken, E-DATA-017 for sizes that are not."""
    status = path.stat()
    return _look(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _look(path: Path, _changed: int, _size: int) -> Facts:
    with open_plain(path) as stream:
        require(stream.read(8)[4:] == b"ftyp", f"{path.name} is not an MP4", Code.DATA_TRUNCATED_VIDEO)
    with (
        _decoding(path),
        open_plain(path) as stream,
        av.open(stream, mode="r", format="mp4", options=_OPTIONS) as container,
    ):
        require(bool(container.streams.video), f"{path.name} holds no video", Code.DATA_TRUNCATED_VIDEO)
        return _facts(path, container, container.streams.video[0], len(container.streams))


def _facts(path: Path, container: av.container.InputContainer, video: av.VideoStream, streams: int) -> Facts:
    context = video.codec_context
    codec = context.codec.canonical_name
    require(codec in _CODECS, f"{path.name} is {codec}, not one of {sorted(_CODECS)}")
    require(0 < context.height <= MAX_SIDE, f"{path.name} is {context.height} high", Code.DATA_SIZE)
    require(0 < context.width <= MAX_SIDE, f"{path.name} is {context.width} wide", Code.DATA_SIZE)
    times: list[float] = []
    sizes: list[int] = []
    keys: list[bool] = []
    mixed, headers = False, bytes(context.extradata or b"")
    for packet in container.demux(video):
        if not packet.size:
            continue
        require(len(times) < _MAX_PACKETS, f"{path.name} has too many frames", Code.DATA_SIZE)
        times.append(_shown_at(path, packet.pts, packet.time_base))
        sizes.append(packet.size)
        keys.append(packet.is_keyframe and (codec != "h264" or is_start(bytes(packet), headers)))
        mixed = mixed or packet.has_sidedata("new_extradata")
    require(len(times) >= (video.frames or 0), f"{path.name} is cut off", Code.DATA_TRUNCATED_VIDEO)
    return Facts(
        codec=codec,
        pixels=context.pix_fmt or "",
        height=context.height,
        width=context.width,
        streams=streams,
        times=np.sort(np.array(times)),
        sizes=np.array(sizes, np.int64),
        keys=np.array(keys, np.bool_),
        reordered=times != sorted(times),
        mixed=mixed,
    )


def find(video: ForeignVideo, frames: int, camera: Camera, *, exact: bool) -> Cut:
    """Where an episode's frames lie, and what they need to become `camera`'s video; `exact` when no other size may be
    taken. Raises DataError: E-DATA-002 when there are too few frames, E-DATA-009 when one does not stand at its time,
    E-DATA-010 for another size, and like `look`."""
    facts = look(video.path)
    name = video.path.name
    same_size = (facts.height, facts.width) == (camera.height, camera.width)
    if exact and not same_size:
        sizes = f"{facts.height} x {facts.width}, the contract's {camera.height} x {camera.width}"
        raise refuse(f"{name} is {sizes}: let the mapping stretch or crop it", Code.DATA_CONTRACT)
    start = int(np.searchsorted(facts.times, video.start_s - 0.5 / video.rate_hz)) if video.start_s else 0
    found = facts.times[start : start + frames]
    require(len(found) == frames, f"{name} holds {len(found)} frames for {frames} rows", Code.DATA_FRAME_COUNT)
    late = (found - video.start_s) * video.rate_hz - np.arange(frames)
    worst = int(np.abs(late).argmax())
    in_time = abs(late[worst]) <= _TIME_TOLERANCE_FRAMES
    require(bool(in_time), f"{name} frame {start + worst} is {late[worst]:.2f} frames late", Code.DATA_CLOCK)
    whole = len(facts.times) == frames
    reasons = [
        (not same_size, f"it is {facts.height} x {facts.width}"),
        (facts.codec != "h264", f"it is {facts.codec}"),
        (facts.pixels != "yuv420p", f"its pixels are {facts.pixels}"),
        (not whole and facts.mixed, "its encoder's settings change on the way"),
        (not whole and facts.reordered, "its frames are reordered, and other episodes stand around them"),
        (not whole and not facts.keys[start], "it does not begin with a keyframe"),
    ]
    reason = next((text for holds, text in reasons if holds), "")
    copied: Treatment = "copy" if whole and facts.streams == 1 else "cut"
    if not reason and copied == "cut" and facts.reordered:
        reason = "its frames are reordered, and other streams stand around them"
    size = int(facts.sizes[start : start + frames].sum())
    return Cut(start=start, frames=frames, treatment="encode" if reason else copied, reason=reason, size=size)


def copy(video: ForeignVideo, cut: Cut, target: Path) -> None:
    """Write an episode's video whose treatment is `copy` or `cut`, without decoding anything."""
    if cut.treatment == "copy":
        with open_plain(video.path) as source, target.open("xb") as copied:
            shutil.copyfileobj(source, copied, 1 << 20)
        return
    rate = Fraction(video.rate_hz).limit_denominator(1001)
    first = look(video.path).times[cut.start]
    with (
        _decoding(video.path),
        open_plain(video.path) as file,
        av.open(file, mode="r", format="mp4", options=_OPTIONS) as source,
        av.open(str(target), "w", format="mp4", options={"fflags": "+bitexact"}) as copied_to,
    ):
        foreign = source.streams.video[0]
        stream = copied_to.add_stream_from_template(foreign)
        if cut.start:
            source.seek(round(first / (foreign.time_base or 1)), stream=foreign)
        packets = (packet for packet in source.demux(foreign) if packet.size)
        wanted = (one for one in packets if _shown_at(video.path, one.pts, one.time_base) >= first - _SAME_TIME_S)
        number = 0
        for number, packet in enumerate(islice(wanted, cut.frames), start=1):
            packet.stream, packet.time_base = stream, 1 / rate
            packet.pts = packet.dts = number - 1
            packet.duration = 1
            copied_to.mux_one(packet)
    ended = f"{video.path.name} ends before frame {cut.start + number}"
    require(number == cut.frames, ended, Code.DATA_TRUNCATED_VIDEO)


def images(video: ForeignVideo, cut: Cut) -> Iterator[ImageArray]:
    """An episode's frames decoded, uint8 RGB (H, W, 3); raises DataError(E-DATA-001) when one is damaged or missing."""
    facts = look(video.path)
    wanted = facts.times[cut.start : cut.start + cut.frames]
    given = 0
    with (
        _decoding(video.path),
        open_plain(video.path) as file,
        av.open(file, mode="r", format="mp4", options=_OPTIONS) as container,
    ):
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        starts = np.flatnonzero(facts.keys[: cut.start + 1])
        if cut.start and len(starts):
            container.seek(round(facts.times[starts[-1]] / (stream.time_base or 1)), stream=stream)
        rgb = ColourConverter("rgb24")
        for frame in container.decode(stream):
            at = _shown_at(video.path, frame.pts, frame.time_base)
            if at < wanted[given] - _SAME_TIME_S:
                continue
            alike = (frame.height, frame.width) == (facts.height, facts.width) and not frame.is_corrupt
            damaged = f"{video.path.name} is damaged at frame {cut.start + given}"
            require(alike and at <= wanted[given] + _SAME_TIME_S, damaged, Code.DATA_TRUNCATED_VIDEO)
            yield rgb.array(frame)
            given += 1
            if given == cut.frames:
                return
    raise refuse(f"{video.path.name} ends before frame {cut.start + given}", Code.DATA_TRUNCATED_VIDEO)


def fitted(image: ImageArray, camera: Camera, *, crop: bool) -> ImageArray:
    """An image in the camera's size: scaled, after a cut to its proportions about the middle when `crop`."""
    if crop:
        height, width, _ = image.shape
        high = min(height, max(1, round(width * camera.height / camera.width)))
        wide = min(width, max(1, round(height * camera.width / camera.height)))
        top, left = (height - high) // 2, (width - wide) // 2
        image = image[top : top + high, left : left + wide]
    if image.shape[:2] == (camera.height, camera.width):
        return image
    with understood("an image", av.error.FFmpegError):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        scaled = frame.reformat(width=camera.width, height=camera.height, interpolation="AREA")
        return np.asarray(scaled.to_ndarray(format="rgb24"), np.uint8)


def _shown_at(path: Path, pts: int | None, time_base: Fraction | None) -> float:
    """When a packet or frame is shown, in seconds; raises DataError(E-DATA-080) when it does not say."""
    if pts is None or time_base is None:
        raise refuse(f"{path.name} has a frame without a time")
    return float(pts * time_base)


def _decoding(path: Path) -> AbstractContextManager[None]:
    return understood(path.name, av.error.FFmpegError, code=Code.DATA_TRUNCATED_VIDEO)
