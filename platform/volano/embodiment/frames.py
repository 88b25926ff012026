"""Planar rigid motions as (x, y, theta): metres, metres, radians; x ahead, y to the left, theta anti-clockwise.

Pure NumPy, in double precision. `compose` and `differences` are inverse to each other up to rounding and whole turns.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def compose(deltas: NDArray[np.floating]) -> FloatArray:
    """Step-to-step deltas in the moving body frame, shape (T, 3), to poses in the first body frame, (T, 3).

    Row t is the pose after delta t, so the first row is the first delta. Angles are within (-pi, pi].
    """
    poses = np.zeros((len(deltas), 3))
    x = y = theta = 0.0
    for row, (dx, dy, dtheta) in enumerate(np.asarray(deltas, np.float64)):
        x += np.cos(theta) * dx - np.sin(theta) * dy
        y += np.sin(theta) * dx + np.cos(theta) * dy
        theta += dtheta
        poses[row] = x, y, wrap(theta)
    return poses


def differences(poses: NDArray[np.floating]) -> FloatArray:
    """The inverse of `compose`: poses in one frame, shape (T, 3), to the body-frame deltas that lead there, (T, 3)."""
    wide = np.asarray(poses, np.float64).reshape(-1, 3)
    before = np.concatenate((np.zeros((1, 3)), wide))[: len(wide)]
    deltas = [relative(start, end) for start, end in zip(before, wide, strict=True)]
    return np.array(deltas, np.float64).reshape(-1, 3)


def place(anchor: NDArray[np.floating], poses: NDArray[np.floating]) -> FloatArray:
    """Poses relative to `anchor` (3,), shape (T, 3), in the frame that the anchor is given in."""
    cosine, sine = np.cos(anchor[2]), np.sin(anchor[2])
    wide = np.asarray(poses, np.float64)
    return np.stack(
        (
            anchor[0] + cosine * wide[:, 0] - sine * wide[:, 1],
            anchor[1] + sine * wide[:, 0] + cosine * wide[:, 1],
            anchor[2] + wide[:, 2],
        ),
        axis=1,
    )


def wrap(angle: float) -> float:
    """The same angle within (-pi, pi]."""
    return float(np.pi - (np.pi - angle) % (2 * np.pi))


def relative(start: NDArray[np.floating], end: NDArray[np.floating]) -> FloatArray:
    """The pose `end` seen from the pose `start`, both (x, y, theta) in one frame."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    cosine, sine = np.cos(start[2]), np.sin(start[2])
    return np.array([cosine * dx + sine * dy, -sine * dx + cosine * dy, wrap(end[2] - start[2])])
