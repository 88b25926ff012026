"""What a video's pictures are like, in a few numbers per frame, gathered while the frames are decoded once.

Of most frames only the brightness plane is looked at, thinned to at most 32 x 32 points, so that the cost of a frame
does not grow with its size; of keyframes the colours are counted as well, which the statistics are made of. Points are
summed up many frames at a time: NumPy's overhead would cost more than the sums.
"""

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from volano.data.levels import LevelCounter

BLACK, WHITE = 24, 230
"""Brightness up to which a point is black, and from which it is white. Video has black at 16 and white at 235; the rest
is room for the codec's rounding."""
_POINTS = 32
"""Most points per side."""
_SHIFT = 7
"""Pixels between a point and where its neighbour's row or column would put it."""
_CELLS = 8
_BATCH = 64
"""Frames whose points are held: 64 KiB."""


@dataclass(frozen=True, kw_only=True)
class VideoSummary:
    """The pictures of one camera, N frames. Brightness is 0 to 255."""

    name: str
    """File name of the video."""
    time: NDArray[np.float64]
    """Seconds by the video's own clock, (N,); NaN where it has none."""
    key: NDArray[np.bool_]
    """Whether the frame was coded by itself: a repeated picture looks a little different then, (N,)."""
    black: NDArray[np.float32]
    """Share of points that are black, (N,)."""
    white: NDArray[np.float32]
    """Share of points that are white, (N,)."""
    spread: NDArray[np.float32]
    """Standard deviation of the brightness within the frame, (N,)."""
    change: NDArray[np.float32]
    """Mean absolute difference of the points from the frame before, (N,); infinite for the first."""
    thumbnail: NDArray[np.uint8]
    """Mean brightness in 8 x 8 cells, (N, 8, 8); fewer cells when a side has fewer points."""
    levels: NDArray[np.int64]
    """How often each of the 256 values occurs in each colour of the keyframes, (3, 256): `volano.data.levels`."""


class Summarizer:
    """Takes at most `frames` decoded frames of one size, in order."""

    def __init__(self, name: str, *, frames: int, height: int, width: int) -> None:
        self._name = name
        self._places = _places(height, width)
        self._flat: dict[int, NDArray[np.int64]] = {}
        """Length of a line in bytes to the places of the points in the plane."""
        rows, columns = self._places[0].shape
        cells = min(_CELLS, rows), min(_CELLS, columns)
        self._pooling = _pooling(cells[0], rows), _pooling(cells[1], columns)
        self._points = np.zeros((_BATCH + 1, rows, columns), np.uint8)  # the first is the last of the batch before
        self._held, self._done = 0, 0
        self._time = np.full(frames, np.nan)
        self._key = np.zeros(frames, np.bool_)
        self._numbers = np.zeros((4, frames), np.float32)
        self._thumbnail = np.zeros((frames, *cells), np.uint8)
        self._levels = LevelCounter(height, width)

    def add(self, frame: av.VideoFrame) -> None:
        """Look at the next frame."""
        plane = frame.planes[0]
        flat = self._flat.get(plane.line_size)
        if flat is None:
            flat = self._flat[plane.line_size] = self._places[0] * plane.line_size + self._places[1]
        self._held += 1
        np.take(np.frombuffer(memoryview(plane), np.uint8), flat, out=self._points[self._held], mode="clip")
        at = self._done + self._held - 1
        self._time[at] = np.nan if frame.time is None else frame.time
        if frame.key_frame:
            self._key[at] = True
            self._levels.add(frame)
        if self._held == _BATCH:
            self._sum_up()

    def summary(self) -> VideoSummary:
        """The summary of the frames so far."""
        if self._held:
            self._sum_up()
        black, white, spread, change = self._numbers[:, : self._done]
        change[:1] = np.inf
        return VideoSummary(
            name=self._name,
            time=self._time[: self._done],
            key=self._key[: self._done],
            black=black,
            white=white,
            spread=spread,
            change=change,
            thumbnail=self._thumbnail[: self._done],
            levels=self._levels.counts,
        )

    def _sum_up(self) -> None:
        points, before = self._points[1 : self._held + 1], self._points[: self._held]
        flat, most = points.reshape(self._held, -1), points[0].size
        level = flat.astype(np.float32)
        at = slice(self._done, self._done + self._held)
        self._numbers[0, at] = np.count_nonzero(flat <= BLACK, axis=1) / most
        self._numbers[1, at] = np.count_nonzero(flat >= WHITE, axis=1) / most
        squares = np.einsum("ij,ij->i", level, level) / most
        self._numbers[2, at] = np.sqrt(np.maximum(squares - level.mean(axis=1) ** 2, 0))
        apart = np.maximum(points, before) - np.minimum(points, before)
        self._numbers[3, at] = apart.reshape(self._held, -1).mean(axis=1, dtype=np.float32)
        down, across = self._pooling
        self._thumbnail[at] = down @ level.reshape(points.shape) @ across.T
        self._points[0] = self._points[self._held]
        self._done, self._held = self._done + self._held, 0


def _places(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the points. Each row of points is shifted against the next, and each column: on a plain
    grid, a pattern could move without any point seeing it."""
    down, across = -(-height // _POINTS), -(-width // _POINTS)
    row, column = np.mgrid[: -(-height // down), : -(-width // across)]
    rows = np.minimum(row * down + column * _SHIFT % down, height - 1)
    columns = np.minimum(column * across + row * _SHIFT % across, width - 1)
    return rows, columns


def _pooling(cells: int, points: int) -> NDArray[np.float32]:
    """The matrix (cells, points) that averages neighbouring points; a rest at the end is left out."""
    wide = points // cells
    matrix = np.zeros((cells, points), np.float32)
    matrix[:, : cells * wide] = np.kron(np.eye(cells), np.full(wide, 1 / wide))
    return matrix
