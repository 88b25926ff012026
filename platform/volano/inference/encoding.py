"""Images as PNG or JPEG files, for robots whose network is narrow. Needs the extra `robot`.

The encoder is FFmpeg's, through PyAV as everywhere here. PNG keeps every value; JPEG does not, and has colour at half
of the resolution, as most cameras have it.
"""

from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_CODECS = {"png": ("png", "rgb24"), "jpeg": ("mjpeg", "yuvj420p")}
_OPTIONS = {"png": {"compression_level": "1"}, "jpeg": {"flags": "qscale", "qmin": "2"}}
"""JPEG at one quality, FFmpeg's best of the usual 2 to 31; without them it would keep to a number of bits."""


class Encoder:
    """Images of one size, one after another."""

    def __init__(self, coding: Literal["png", "jpeg"], height: int, width: int) -> None:
        self.coding: Literal["png", "jpeg"] = coding
        self.shape = (height, width, 3)
        codec, self._pixels = _CODECS[coding]
        context: Any = av.CodecContext.create(codec, "w")
        self._context = context
        context.width, context.height, context.pix_fmt = width, height, self._pixels
        context.time_base = Fraction(1)
        context.thread_count = 1
        context.options = _OPTIONS[coding]
        self._number = 0

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """An RGB image (height, width, 3) as a file."""
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format=self._pixels)
        frame.pts = self._number
        self._number += 1
        return b"".join(bytes(packet) for packet in self._context.encode(frame))
