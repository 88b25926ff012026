"""Whether a camera's video is what the contract says: an MP4 of H.264 frames, all of which decode.

The container and codec are pinned before a decoder sees a byte, the size is compared before a frame is decoded,
and decoding stops one frame after the count that the manifest gives. What the pictures are like is gathered in the
same pass. Runs in the sandbox's child only.
"""

from pathlib import Path

import av
import av.error

from volano.data.finding import Finding
from volano.data.video_summary import Summarizer, VideoSummary
from volano.embodiment.contract import Camera
from volano.errors import Code

_CODEC = "h264"
_PIXELS = "yuv420p"
_DEMUX = {"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
_UNREADABLE = (av.error.FFmpegError, ValueError, IndexError)


def read_video(path: Path, camera: Camera, *, frames: int) -> VideoSummary | Finding:
    """Decode one video: E-DATA-001 when it does not decode to its end, E-DATA-002 when it holds another number of
    frames, E-DATA-010 when it is not the contract's camera, and a summary of its pictures otherwise."""
    with path.open("rb") as stream:
        if stream.read(8)[4:] != b"ftyp":
            return Finding.of(Code.DATA_TRUNCATED_VIDEO, f"{path.name} is not an MP4")
    try:
        with path.open("rb") as stream, av.open(stream, mode="r", format="mp4", options=_DEMUX) as container:
            return _check_streams(container, path.name, camera) or _read_frames(container, path.name, frames)
    except _UNREADABLE as error:
        return Finding.of(Code.DATA_TRUNCATED_VIDEO, f"{path.name} does not decode: {type(error).__name__}")


def frame_size(path: Path) -> tuple[int, int] | None:
    """(height, width) that a video's header states, without decoding a frame; None when it states none."""
    options = {**_DEMUX, "codec_whitelist": "none"}
    try:
        with path.open("rb") as stream, av.open(stream, mode="r", format="mp4", options=options) as container:
            context = container.streams.video[0].codec_context
            return None if context is None else (context.height, context.width)
    except _UNREADABLE:
        return None


def _check_streams(container: av.container.InputContainer, name: str, camera: Camera) -> Finding | None:
    context = container.streams.video[0].codec_context if container.streams.video else None
    if context is None or context.pix_fmt is None:  # what is left of a file that was cut through its index
        return Finding.of(Code.DATA_TRUNCATED_VIDEO, f"{name} holds no whole video stream")
    if len(container.streams) != 1 or len(container.streams.video) != 1:
        return Finding.of(Code.DATA_CONTRACT, f"{name} does not hold exactly one video stream")
    if (context.name, context.pix_fmt) != (_CODEC, _PIXELS):
        return Finding.of(Code.DATA_CONTRACT, f"{name} is {context.name} {context.pix_fmt}, not {_CODEC} {_PIXELS}")
    if (context.height, context.width) != (camera.height, camera.width):
        evidence = f"{name} is {context.height} x {context.width}, the contract's {camera.height} x {camera.width}"
        return Finding.of(Code.DATA_CONTRACT, evidence)
    return None


def _read_frames(container: av.container.InputContainer, name: str, frames: int) -> VideoSummary | Finding:
    stream = container.streams.video[0]
    declared, context = stream.frames, stream.codec_context
    context.thread_count = 1
    pictures = Summarizer(name, frames=frames, height=context.height, width=context.width)
    decoded = 0
    for frame in container.decode(stream):
        decoded += 1
        if frame.is_corrupt:
            return Finding.of(Code.DATA_TRUNCATED_VIDEO, f"{name} is damaged at frame {decoded - 1}")
        if (frame.height, frame.width) != (context.height, context.width):
            return Finding.of(Code.DATA_CONTRACT, f"{name} changes its size at frame {decoded - 1}")
        if decoded > frames:
            return Finding.of(Code.DATA_FRAME_COUNT, f"{name} holds more than {frames} frames")
        pictures.add(frame)
    if decoded < declared:
        return Finding.of(Code.DATA_TRUNCATED_VIDEO, f"{name} ends after {decoded} of {declared} frames")
    if decoded != frames:
        return Finding.of(Code.DATA_FRAME_COUNT, f"{name} holds {decoded} frames for {frames} rows")
    return pictures.summary()
