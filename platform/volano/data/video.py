"""One camera's video of one episode: H.264 in MP4, constant rate, frame k at exactly k / rate.

Short groups of pictures without reordered frames, so that a window of frames is cheap to read and episodes join
without encoding again. Frames are uint8 RGB of shape (height, width, 3). Decoding here is for files that we wrote or
that passed the sandbox.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from volano.errors import Code, DataError

ImageArray = NDArray[np.uint8]
_ENCODER = {"preset": "veryfast", "crf": "12", "g": "15", "bf": "0"}
_MAX_DENOMINATOR = 1001


class ColourConverter:
    """Brings frames of one size to another pixel format. PyAV alone would build its conversion tables for each frame,
    which costs more than the conversion."""

    def __init__(self, pixel_format: str) -> None:
        self._format = pixel_format
        self._reformatter = VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in the converter's format."""
        return self._reformatter.reformat(frame, format=self._format)

    def array(self, frame: av.VideoFrame) -> ImageArray:
        """The frame's values, for `rgb24` of shape (height, width, 3)."""
        return np.asarray(self.convert(frame).to_ndarray(), np.uint8)


class VideoWriter:
    """Encodes frames as they come. The file can be read after `close` only."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate = Fraction(rate_hz).limit_denominator(_MAX_DENOMINATOR)
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        self._stream: av.VideoStream | None = None
        self._closed = False
        self.frames = 0
        """Frames added so far."""

    def add(self, image: ImageArray) -> None:
        """Append one frame; raises DataError(E-DATA-010) when it is not uint8 (H, W, 3) with even sides, or differs in
        size from the first one."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise self._refused(f"a frame is {image.dtype} {image.shape}, not uint8 (height, width, 3)")
        stream = self._stream or self._open(image)
        if image.shape[:2] != (stream.height, stream.width):
            raise self._refused(f"frame {self.frames} is {image.shape[:2]}, the first {(stream.height, stream.width)}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        self._container.mux(stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _open(self, image: ImageArray) -> av.VideoStream:
        height, width, _ = image.shape
        if height < 2 or width < 2 or height % 2 or width % 2:
            raise self._refused(f"frames are {height} x {width}; both sides must be even")
        stream = self._container.add_stream("libx264", rate=self._rate, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / self._rate
        stream.codec_context.thread_count = 1
        self._stream = stream
        return stream

    def _refused(self, cause: str) -> DataError:
        return DataError(Code.DATA_CONTRACT, f"{self._path.name}: {cause}", "correct the camera or its contract")


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


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(Code.DATA_TRUNCATED_VIDEO, f"{path.name} does not decode: {error}", "record the episode again")
