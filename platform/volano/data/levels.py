"""How often each value occurs in each colour of a camera's keyframes: all that statistics need of pictures.

Counted on a grid of at most 64 x 64 points, so that a picture's cost does not grow with its size, and of keyframes, of
which there is one every second or so: an even sample. A point's colour is that of its pixel, not of what is around it.
"""

from base64 import b64decode, b64encode
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from volano.data.video import ColourConverter

_POINTS = 64
"""Most points per side."""


class LevelCounter:
    """Counts pictures of one size, in `yuv420p`."""

    def __init__(self, height: int, width: int) -> None:
        self._rows, self._columns = _step(height), _step(width)
        self._height, self._width = height, width
        self._rgb = ColourConverter("rgb24")
        self.counts = np.zeros((3, 256), np.int64)
        """How often each value occurred in red, green and blue."""

    def add(self, frame: av.VideoFrame) -> None:
        """Count a picture."""
        points = np.stack(
            [
                _plane(frame, 0, self._height, self._width)[:: 2 * self._rows, :: 2 * self._columns],
                *(
                    _plane(frame, number, (self._height + 1) // 2, (self._width + 1) // 2)[
                        :: self._rows, :: self._columns
                    ]
                    for number in (1, 2)
                ),
            ]
        )
        thin = av.VideoFrame.from_ndarray(points, format="yuv444p")
        thin.colorspace, thin.color_range = frame.colorspace, frame.color_range
        for colour, values in enumerate(self._rgb.array(thin).reshape(-1, 3).T):
            self.counts[colour] += np.bincount(values, minlength=256)


def levels_text(counts: NDArray[np.int64]) -> str:
    """Counts of shape (3, 256) as text: base64 of whole numbers of four bytes, the lowest first."""
    return b64encode(counts.astype("<u4").tobytes()).decode()


def parse_levels(text: Any) -> NDArray[np.int64]:
    """Inverse of `levels_text`; raises ValueError or TypeError for what no pictures have."""
    counts = np.frombuffer(b64decode(text, validate=True), "<u4").astype(np.int64)
    if len(counts) != 3 * 256:
        raise ValueError("a camera's levels are not counted")
    counts = counts.reshape(3, 256)
    if not 0 < counts[0].sum() == counts[1].sum() == counts[2].sum():
        raise ValueError("a camera's colours differ in number")
    return counts


def _step(length: int) -> int:
    """Chroma samples from one point to the next: brightness has two for each."""
    return -(-length // (2 * _POINTS))


def _plane(frame: av.VideoFrame, number: int, height: int, width: int) -> NDArray[np.uint8]:
    plane = frame.planes[number]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return lines[:height, :width]
