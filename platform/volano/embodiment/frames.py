"""Planar rigid motions as (x, y, theta): metres, metres, radians; theta within (-pi, pi]."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def compose(deltas: NDArray[np.floating]) -> FloatArray:
    """Step-to-step deltas in the moving body frame, shape (T, 3), to poses in the first body frame, (T, 3)."""
    poses = np.zeros((len(deltas), 3))
    x = y = theta = 0.0
    for row, (dx, dy, dtheta) in enumerate(np.asarray(deltas, np.float64)):
        x += np.cos(theta) * dx - np.sin(theta) * dy
        y += np.sin(theta) * dx + np.cos(theta) * dy
        theta += dtheta
        poses[row] = x, y, wrap(theta)
    return poses


def wrap(angle: float) -> float:
    """The same angle within (-pi, pi]."""
    return float(np.pi - (np.pi - angle) % (2 * np.pi))


def relative(start: NDArray[np.floating], end: NDArray[np.floating]) -> FloatArray:
    """The pose `end` seen from the pose `start`, both (x, y, theta) in one world frame."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    cosine, sine = np.cos(start[2]), np.sin(start[2])
    return np.array([cosine * dx + sine * dy, -sine * dx + cosine * dy, wrap(end[2] - start[2])])
