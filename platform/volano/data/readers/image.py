"""Single images as foreign sources hold them: PNG and JPEG, decoded by FFmpeg with the codec pinned by its first bytes.

The size is read from the file's own header and compared before the decoder sees a byte, and the decoder makes room for
no larger one. Of a PNG it gets what the picture is made of: texts and profiles beside it unpack to any size. PNG keeps
every value; a JPEG decodes as FFmpeg decodes it, which may differ from another decoder by a few of 255.
"""

from typing import Any

import av
import av.error
import numpy as np

from volano.data.readers.foreign import MAX_SIDE, ImageArray, refuse, require, understood
from volano.errors import Code

MAX_IMAGE_BYTES = 64 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
MAGIC = (_PNG, _JPEG)
_CODECS = {"png": "png", "jpeg": "mjpeg"}
_PICTURE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_ALIGNED = 64
"""The decoder rounds a picture's sides up to so much."""
_STARTS_OF_FRAME = {0xC0, 0xC1, 0xC2}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def coding(data: bytes) -> str:
    """`png` or `jpeg`, by the first bytes; raises DataError(E-DATA-080) for anything else."""
    for name, magic in zip(_CODECS, MAGIC, strict=True):
        if data.startswith(magic):
            return name
    raise refuse("an image is neither PNG nor JPEG")


def size(data: bytes) -> tuple[int, int]:
    """(height, width) as the header says; raises DataError: E-DATA-080 when it is none, E-DATA-017 when it is too
    large."""
    require(len(data) <= MAX_IMAGE_BYTES, f"an image has {len(data)} bytes", Code.DATA_SIZE)
    height, width = _png_size(data) if coding(data) == "png" else _jpeg_size(data)
    require(height > 0 and width > 0, "an image has no pixels")
    require(max(height, width) <= MAX_SIDE, f"an image of {height} x {width}", Code.DATA_SIZE)
    return height, width


def decode_image(data: bytes, height: int, width: int) -> ImageArray:
    """An image of that size as uint8 RGB (height, width, 3); raises DataError like `size`, and E-DATA-080 when its size
    is another."""
    require(size(data) == (height, width), f"an image is {size(data)}, the others are {(height, width)}")
    with understood("an image", av.error.FFmpegError):
        decoder: Any = av.CodecContext.create(_CODECS[coding(data)], "r")
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str((height + _ALIGNED) * (width + _ALIGNED))}
        picture = _picture_alone(data) if coding(data) == "png" else data
        frames = [*decoder.decode(av.Packet(picture)), *decoder.decode(None)]
        require(len(frames) == 1 and not frames[0].is_corrupt, "an image is damaged")
        require((frames[0].height, frames[0].width) == (height, width), "an image differs from its header")
        return np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8)


def _picture_alone(data: bytes) -> bytes:
    """A PNG without its chunks of other things."""
    at, kept = len(_PNG), [_PNG]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PICTURE_CHUNKS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _png_size(data: bytes) -> tuple[int, int]:
    require(len(data) >= 24 and data[12:16] == b"IHDR", "a PNG has no header")
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data):
        require(data[at] == 0xFF, "a JPEG is damaged")
        marker = data[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _STARTS_OF_FRAME:
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise refuse("a JPEG has no size")
