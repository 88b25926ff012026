"""Videos of a LeRobot dataset: many episodes joined in one MP4 without encoding again, and read back in order.

Relies on constant encoder settings within a file: episodes are grouped by their decoder configuration, and what
cannot be joined (reordered frames, no keyframe at the start) is encoded once with fixed settings. Frame k of an
episode stands at exactly (frames before it + k) / fps, computed from counts and never from container durations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Self, TypeAlias

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from volano.data.groups import Cuts, is_start
from volano.data.lerobot_layout import numbered
from volano.data.levels import LevelCounter
from volano.data.video import ColourConverter, encoder_options
from volano.errors import Code, DataError

_ENCODER = {"preset": "veryfast", "crf": "23", "g": "15", "bf": "0"}
_UNDECODED = {"codec_whitelist": "none"}
"""Lets nothing decode when a file is opened to copy its packets: finding out what is in it would take longer."""
_FIX = "materialize the dataset version again"
_Packet: TypeAlias = "av.Packet[av.VideoStream]"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where an episode's frames lie: the camera's file, and the frames that stand before them in it."""

    file: int
    start: int


@dataclass(kw_only=True)
class _OpenFile:
    """One MP4 being written; `configuration` is what its episodes have in common."""

    index: int
    path: Path
    headers: bytes
    container: av.container.OutputContainer
    stream: av.VideoStream
    frames: int = 0
    size: int = 0
    groups: list[list[int]] = field(default_factory=list)
    """Bytes of each frame, by group of pictures."""

    def close(self) -> Cuts:
        self.container.close()
        return Cuts(path=self.path, headers=self.headers, sizes=self.groups)


class VideoWriter:
    """Appends episodes of one camera to numbered files, one open file per decoder configuration."""

    def __init__(self, folder: Path, *, fps: int, max_bytes: int, first: int = 0) -> None:
        """A file is closed before it would pass `max_bytes`; `first` is the number of the first one."""
        self._folder = folder
        self._fps = fps
        self._max_bytes = max_bytes
        self.next_file = first
        """Number of the next file."""
        self.cuts: list[Cuts] = []
        """Of the files that are finished, in the order in which they were."""
        self._open: dict[bytes, _OpenFile] = {}

    def append(self, source: Path | bytes, frames: int) -> Span:
        """Add an episode's video, from its file or all of its bytes; raises DataError(E-DATA-002) when it does not hold
        `frames` packets."""
        with _opened(source, _UNDECODED) as container:
            stream, packets = _demuxed(container)
            if _joinable(stream, packets):
                return self._join(stream, packets, frames)
        again = self._folder / "encoding.partial"
        _encode_again(source, again, self._fps)
        with _opened(again, _UNDECODED) as container:
            span = self._join(*_demuxed(container), frames)
        again.unlink()
        return span

    def _join(self, stream: av.VideoStream, packets: Sequence[_Packet], frames: int) -> Span:
        if len(packets) != frames:
            cause = f"a video for {self._folder.name} holds {len(packets)} frames for {frames} rows"
            raise DataError(Code.DATA_FRAME_COUNT, cause, "ingest the upload again")
        size, unit = sum(packet.size for packet in packets), Fraction(1, self._fps)
        target = self._target(stream, size)
        span = Span(file=target.index, start=target.frames)
        for packet in packets:
            if is_start(memoryview(packet), target.headers):
                target.groups.append([])
            target.groups[-1].append(packet.size)
            packet.stream = target.stream
            packet.time_base = unit
            packet.pts = packet.dts = target.frames
            packet.duration = 1
            target.container.mux_one(packet)
            target.frames += 1
        target.size += size
        return span

    def _target(self, stream: av.VideoStream, size: int) -> _OpenFile:
        configuration = bytes(stream.codec_context.extradata or b"")
        target = self._open.get(configuration)
        if target is not None and target.size + size > self._max_bytes:
            self.cuts.append(target.close())
            target = None
        if target is None:
            index = self.next_file
            path = Path(numbered(str(self._folder), index, "mp4"))
            path.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
            self.next_file += 1
            target = _OpenFile(
                index=index,
                path=path,
                headers=configuration,
                container=container,
                stream=container.add_stream_from_template(stream),
            )
            self._open[configuration] = target
        return target

    def close(self) -> None:
        """Finish every file."""
        self.cuts += [target.close() for target in self._open.values()]
        self._open.clear()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _opened(source: Path | bytes, options: dict[str, str]) -> av.container.InputContainer:
    return av.open(
        BytesIO(source) if isinstance(source, bytes) else str(source), mode="r", format="mp4", options=options
    )


def _demuxed(container: av.container.InputContainer) -> tuple[av.VideoStream, list[_Packet]]:
    """The video of a file, and its packets in the order in which they stand there."""
    stream = container.streams.video[0]
    return stream, [packet for packet in container.demux(stream) if packet.size]


def _joinable(stream: av.VideoStream, packets: Sequence[_Packet]) -> bool:
    """Whether packets can be copied one after another: H.264 in display order, and a decoder can start at the first."""
    if stream.codec_context.name != "h264":
        return False
    times = [packet.pts for packet in packets if packet.pts is not None]
    headers = bytes(stream.codec_context.extradata or b"")
    in_order = len(times) == len(packets) and times == sorted(times)
    return bool(packets) and in_order and is_start(memoryview(packets[0]), headers)


def _encode_again(source: Path | bytes, target: Path, fps: int) -> None:
    with (
        _opened(source, {}) as reading,
        av.open(str(target), "w", format="mp4", options={"fflags": "+bitexact"}) as writing,
    ):
        template = reading.streams.video[0].codec_context
        stream = writing.add_stream("libx264", rate=fps, options=encoder_options(_ENCODER))
        stream.width, stream.height, stream.pix_fmt = template.width, template.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(reading.decode(video=0)):
            frame.pts, frame.time_base = number, Fraction(1, fps)
            frame.pict_type = av.video.frame.PictureType.NONE
            writing.mux(stream.encode(frame))
        writing.mux(stream.encode(None))


def colour_levels(path: Path) -> NDArray[np.int64]:
    """How often each of the 256 values occurs in each colour of a video's keyframes, (3, 256): `volano.data.levels`. No
    other frame is decoded."""
    with av.open(str(path), mode="r", format="mp4") as container:
        decoder = container.streams.video[0].codec_context
        decoder.skip_frame, decoder.thread_count = "NONKEY", 1
        counter = LevelCounter(decoder.height, decoder.width)
        for frame in container.decode(video=0):
            counter.add(frame)
    return counter.counts


class VideoReader:
    """Reads ranges of frames from one file, fastest when they come in order."""

    def __init__(self, path: Path, fps: int) -> None:
        self._path = path
        self._fps = fps
        self._rgb = ColourConverter("rgb24")
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next = -1
        self._container: av.container.InputContainer | None = None

    def read(self, start: int, count: int) -> NDArray[np.uint8]:
        """Frames [start, start + count) as RGB (count, H, W, 3); raises DataError(E-DATA-013) when they are not
        all there at their exact times."""
        if self._next < 0 or start < self._next:
            self._reopen()
        images: list[NDArray[np.uint8]] = []
        try:
            while len(images) < count:
                number, frame = next(self._frames)
                if number != self._next:
                    raise DataError(
                        Code.DATA_VERSION, f"{self._path.name} has frame {number} in place of {self._next}", _FIX
                    )
                self._next += 1
                if number >= start:
                    images.append(self._rgb.array(frame))
        except (StopIteration, av.error.FFmpegError) as error:
            raise DataError(Code.DATA_VERSION, f"{self._path.name} ends before frame {start + count}", _FIX) from error
        return np.stack(images)

    def close(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()
        self._container, self._next = None, -1

    def _reopen(self) -> None:
        self.close()
        self._container = av.open(str(self._path), mode="r", format="mp4")
        self._frames = self._decode(self._container)
        self._next = 0

    def _decode(self, container: av.container.InputContainer) -> Iterator[tuple[int, av.VideoFrame]]:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.pts is None or frame.time_base is None:
                raise DataError(Code.DATA_VERSION, f"{self._path.name} has a frame without a time", _FIX)
            yield round(frame.pts * frame.time_base * self._fps), frame
