"""One camera's video of one episode: H.264 in MP4, constant rate, frame k at exactly k / rate.

Short groups of pictures without reordered frames, so that a window of frames is cheap to read and episodes join
without encoding again. Frames are uint8 RGB of shape (height, width, 3). Decoding here is for files that we wrote or
that passed the sandbox.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import av.error
import numpy as np
import pyarrow as pa
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from volano.errors import Code, DataError

ImageArray = NDArray[np.uint8]
_ENCODER = {"preset": "veryfast", "crf": "12", "g": "15", "bf": "0", "x264-params": "cabac=0"}
"""Without arithmetic coding: the same pictures, a few percent larger, at half the cost of decoding."""
_MAX_DENOMINATOR = 1001


def encoder_options(
    options: Mapping[str, str], simd_level: str = pa.runtime_info().detected_simd_level
) -> dict[str, str]:
    """x264's options, with its AVX-512 code left out: that code writes, once in some thousand films, other bytes for
    the same frames, and an episode is known by its bytes. All its other code writes the same ones everywhere."""
    if simd_level != "avx512":
        return dict(options)
    parameters = [*filter(None, [options.get("x264-params")]), "asm=avx2"]
    return {**options, "x264-params": ":".join(parameters)}


class ColourConverter:
    """Brings frames of one size to another pixel format, in the caller's thread. PyAV alone would build its conversion
    tables for each frame, and share each out among a thread for every core: both cost more than the conversion."""

    def __init__(self, pixel_format: str) -> None:
        self._format = pixel_format
        self._reformatter = VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in the converter's format."""
        return self._reformatter.reformat(frame, format=self._format, threads=1)

    def array(self, frame: av.VideoFrame) -> ImageArray:
        """The frame's values, for `rgb24` of shape (height, width, 3)."""
        return np.asarray(self.convert(frame).to_ndarray(), np.uint8)


@dataclass(frozen=True, kw_only=True)
class EncodedFrame:
    """One frame as it stands in the file: H.264 with start codes, in display order."""

    data: bytes
    key: bool
    """Decodes without the frames before it."""


class VideoEncoder:
    """Encodes frames as they come; an encoded frame comes out up to a dozen frames later."""

    def __init__(self, name: str, rate_hz: float) -> None:
        """`name` is the video's in messages."""
        self._name = name
        self._rate = _rate(rate_hz)
        self._context: av.VideoCodecContext | None = None
        self.frames = 0
        """Frames added so far."""

    def add(self, image: ImageArray) -> list[EncodedFrame]:
        """Append one frame; raises DataError(E-DATA-010) when it is not uint8 (H, W, 3) with even sides, or differs in
        size from the first one."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise self._refused(f"a frame is {image.dtype} {image.shape}, not uint8 (height, width, 3)")
        context = self._context or self._open(image)
        if image.shape[:2] != (context.height, context.width):
            raise self._refused(
                f"frame {self.frames} is {image.shape[:2]}, the first {(context.height, context.width)}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        self.frames += 1
        return _encoded(context.encode(frame))

    def end(self) -> list[EncodedFrame]:
        """The frames that were not out yet; nothing can be added then."""
        return _encoded(self._context.encode(None)) if self._context else []

    @property
    def headers(self) -> bytes:
        """What a decoder needs before the first frame; empty until one was added."""
        return bytes(self._context.extradata or b"") if self._context else b""

    def _open(self, image: ImageArray) -> av.VideoCodecContext:
        height, width, _ = image.shape
        if height < 2 or width < 2 or height % 2 or width % 2:
            raise self._refused(f"frames are {height} x {width}; both sides must be even")
        context = av.VideoCodecContext.create("libx264", "w")
        context.options, context.framerate = encoder_options(_ENCODER), self._rate
        context.flags |= Flags.global_header  # as MP4 wants them: once, not before each keyframe
        _configure(context, self._rate, height, width)
        self._context = context
        return context

    def _refused(self, cause: str) -> DataError:
        return DataError(Code.DATA_CONTRACT, f"{self._name}: {cause}", "correct the camera or its contract")


class VideoFile:
    """Writes encoded frames into an MP4; the same frames make the same bytes. It can be read after `close` only."""

    def __init__(self, path: Path, rate_hz: float, *, height: int, width: int, headers: bytes) -> None:
        rate = _rate(rate_hz)
        self._time_base = 1 / rate
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("libx264", rate=rate, options=encoder_options(_ENCODER))
        _configure(self._stream.codec_context, rate, height, width)
        self._stream.codec_context.open()
        self._stream.codec_context.extradata = headers  # of the encoder that made the frames
        self.frames = 0
        """Frames added so far."""

    def add(self, frame: EncodedFrame) -> None:
        """Append the next frame."""
        packet = av.Packet(frame.data)
        packet.stream, packet.time_base = self._stream, self._time_base
        packet.pts = packet.dts = self.frames
        packet.is_keyframe = frame.key
        self._container.mux_one(packet)
        self.frames += 1

    def close(self) -> None:
        """Finish the file; more than once is harmless."""
        self._container.close()


class VideoWriter:
    """Encodes frames as they come, into a file. The file can be read after `close` only."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._encoder = VideoEncoder(path.name, rate_hz)
        self._file: VideoFile | None = None
        self._closed = False

    @property
    def frames(self) -> int:
        """Frames added so far."""
        return self._encoder.frames

    def add(self, image: ImageArray) -> None:
        """Append one frame; raises like `VideoEncoder.add`."""
        encoded = self._encoder.add(image)
        if self._file is None:
            height, width, _ = image.shape
            headers = self._encoder.headers
            self._file = VideoFile(self._path, self._rate_hz, height=height, width=width, headers=headers)
        for frame in encoded:
            self._file.add(frame)

    def close(self) -> None:
        """Finish the file; more than once is harmless."""
        if self._closed or self._file is None:
            return
        self._closed = True
        for frame in self._encoder.end():
            self._file.add(frame)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def encode(path: Path, frames: Iterable[ImageArray], rate_hz: float) -> int:
    """Write a whole video; returns the number of frames."""
    with VideoWriter(path, rate_hz) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.frames


def decode(path: Path) -> Iterator[ImageArray]:
    """The frames in order; raises DataError(E-DATA-001) where the video cannot be read on."""
    try:
        with av.open(str(path), mode="r", format="mp4") as container:
            container.streams.video[0].codec_context.thread_count = 1
            rgb = ColourConverter("rgb24")
            for frame in container.decode(video=0):
                yield rgb.array(frame)
    except (av.error.FFmpegError, IndexError) as error:
        raise _broken(path, error) from error


def _rate(rate_hz: float) -> Fraction:
    return Fraction(rate_hz).limit_denominator(_MAX_DENOMINATOR)


def _configure(context: av.VideoCodecContext, rate: Fraction, height: int, width: int) -> None:
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = 1 / rate
    context.thread_count = 1


def _encoded(packets: "Iterable[av.Packet[av.VideoStream]]") -> list[EncodedFrame]:
    return [EncodedFrame(data=bytes(packet), key=packet.is_keyframe) for packet in packets]


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(Code.DATA_TRUNCATED_VIDEO, f"{path.name} does not decode: {error}", "record the episode again")
