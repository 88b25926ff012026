"""What a car sees from above: ego-centred, heading up, roads filled, lines and cars drawn at four times the resolution
and averaged, so that a lane's edge moves smoothly through the pixels.

The library's own picture has edges one pixel thin and no ground, from which nobody learns where in its lane a car is.
Planar frame of the library: x to the east, y to the south, headings clockwise.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from volano.evaluate.simulator import ImageArray

_SEEN_M = 44.0
_EGO_HEIGHT = 0.7
"""The ego stands at 70 % of the picture's height: most of what is seen lies ahead."""
_FINER = 4
_STEP_M = 2.0
_GROUND, _ROAD, _LINE = (70, 110, 60), (70, 70, 75), (235, 235, 235)
_GREEN, _RED = (60, 230, 60), (255, 70, 50)
_LINE_PIXELS = 3

Points = NDArray[np.float64]


class RoadView:
    """A picture of `height` x `width` over a road network, `_SEEN_M` metres wide."""

    def __init__(self, lanes: Iterable[Any], height: int, width: int) -> None:
        self._size = (width, height)
        self._canvas = pygame.Surface((width * _FINER, height * _FINER))
        self._scale = width * _FINER / _SEEN_M
        edges = [_edges(lane) for lane in lanes]
        self._roads = [np.vstack((left, right[::-1])) for (left, right), _ in edges]
        self._lines = [side for sides, marked in edges for side, drawn in zip(sides, marked, strict=True) if drawn]

    def draw(self, ego: Any, others: Iterable[Any]) -> ImageArray:
        """The view around a vehicle of the library, RGB of shape (height, width, 3)."""
        self._canvas.fill(_GROUND)
        for road in self._roads:
            pygame.draw.polygon(self._canvas, _ROAD, self._pixels(road, ego))
        for line in self._lines:
            pygame.draw.lines(self._canvas, _LINE, False, self._pixels(line, ego), _LINE_PIXELS)
        for vehicle in others:
            pygame.draw.polygon(self._canvas, _RED, self._pixels(np.array(vehicle.polygon()[:4]), ego))
        pygame.draw.polygon(self._canvas, _GREEN, self._pixels(np.array(ego.polygon()[:4]), ego))
        small = pygame.transform.smoothscale(self._canvas, self._size)
        return np.ascontiguousarray(pygame.surfarray.array3d(small).swapaxes(0, 1))

    def _pixels(self, points: Points, ego: Any) -> list[tuple[float, float]]:
        offset = points - ego.position
        cosine, sine = math.cos(ego.heading), math.sin(ego.heading)
        ahead = offset[:, 0] * cosine + offset[:, 1] * sine
        right = offset[:, 1] * cosine - offset[:, 0] * sine
        columns = self._canvas.get_width() / 2 + right * self._scale
        rows = self._canvas.get_height() * _EGO_HEIGHT - ahead * self._scale
        return list(zip(columns.tolist(), rows.tolist(), strict=True))


def _edges(lane: Any) -> tuple[tuple[Points, Points], tuple[bool, bool]]:
    """Left and right edge of a lane as points along it, and which of them is marked on the road."""
    along = np.linspace(0.0, lane.length, max(2, math.ceil(lane.length / _STEP_M)))
    sides = tuple(
        np.array([lane.position(s, side * lane.width_at(s) / 2) for s in along], np.float64) for side in (-1, 1)
    )
    marked = tuple(kind is not None and int(kind) != 0 for kind in lane.line_types)
    return (sides[0], sides[1]), (marked[0], marked[1])
