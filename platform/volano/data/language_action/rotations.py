"""Rotations in space as matrices and as axis times angle, in stacks of any shape; double precision.

`logarithm` is the inverse of `exponential` for angles below half a turn, which is all that motions here need.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def exponential(vectors: FloatArray) -> FloatArray:
    """Axis times angle (rad), shape (..., 3), to matrices, shape (..., 3, 3)."""
    angle = np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2 + vectors[..., 2] ** 2)
    safe = np.where(angle < 1e-12, 1.0, angle)
    x, y, z = (vectors[..., axis] / safe for axis in range(3))
    cosine, sine = np.cos(angle), np.sin(angle)
    rest = 1.0 - cosine
    result = np.empty((*vectors.shape, 3))
    result[..., 0, 0] = cosine + x * x * rest
    result[..., 1, 1] = cosine + y * y * rest
    result[..., 2, 2] = cosine + z * z * rest
    result[..., 0, 1], result[..., 1, 0] = x * y * rest - z * sine, x * y * rest + z * sine
    result[..., 0, 2], result[..., 2, 0] = x * z * rest + y * sine, x * z * rest - y * sine
    result[..., 1, 2], result[..., 2, 1] = y * z * rest - x * sine, y * z * rest + x * sine
    result[angle < 1e-12] = np.eye(3)
    return result


def logarithm(rotations: FloatArray) -> FloatArray:
    """Matrices, shape (..., 3, 3), to axis times angle (rad), shape (..., 3), for angles below half a turn."""
    vector = 0.5 * np.stack(
        (
            rotations[..., 2, 1] - rotations[..., 1, 2],
            rotations[..., 0, 2] - rotations[..., 2, 0],
            rotations[..., 1, 0] - rotations[..., 0, 1],
        ),
        axis=-1,
    )
    sine = np.sqrt(vector[..., 0] ** 2 + vector[..., 1] ** 2 + vector[..., 2] ** 2)
    cosine = 0.5 * (rotations[..., 0, 0] + rotations[..., 1, 1] + rotations[..., 2, 2] - 1.0)
    scale = np.where(sine < 1e-12, 1.0, np.arctan2(sine, cosine) / np.where(sine < 1e-12, 1.0, sine))
    return vector * scale[..., None]


def about_z(angle: float) -> FloatArray:
    """Rotation by `angle` (rad) about the vertical, anti-clockwise seen from above, shape (3, 3)."""
    return exponential(np.array([0.0, 0.0, angle]))


def transposed(rotations: FloatArray) -> FloatArray:
    """The inverse rotations, shape (..., 3, 3)."""
    return np.swapaxes(rotations, -1, -2)
