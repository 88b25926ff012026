"""Forward kinematics, Jacobian and damped-least-squares inverse kinematics of a serial arm, for many poses at once.

Joint by joint over whole stacks, without matrix libraries: each pose's result is the same to the bit whatever stands
beside it in the stack, so a corpus does not depend on how it was batched. The pose is the point between the fingertips
in the arm's base frame.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from volano.data.language_action.arms import Arm
from volano.data.language_action.rotations import FloatArray

_LARGEST_STEP_RAD = 0.5


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Positions (N, 3) in metres and rotations (N, 3, 3) in the base frame."""

    position: FloatArray
    rotation: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """A stack of chains, coordinates first: axis (J, 3, N) and origin (J, 3, N) of each joint, and the end's frame."""

    axis: FloatArray
    origin: FloatArray
    columns: FloatArray
    """Shape (3, 3, N): the end's x, y and z axes."""
    end: FloatArray
    """Shape (3, N)."""


def forward(arm: Arm, joints: FloatArray, *, with_tool: bool = True) -> Poses:
    """Poses of the fingertips, or of the flange without the tool, for joint positions (N, J)."""
    frames = _frames(arm, joints, with_tool)
    return Poses(
        position=np.ascontiguousarray(frames.end.T), rotation=np.ascontiguousarray(frames.columns.transpose(2, 1, 0))
    )


def origins(arm: Arm, joints: FloatArray) -> FloatArray:
    """Where each joint's frame stands, shape (N, J, 3), in the base frame."""
    return np.ascontiguousarray(_frames(arm, joints, True).origin.transpose(2, 0, 1))


def inverse(arm: Arm, target: Poses, guess: FloatArray, *, steps: int, damping: float, limited: bool) -> FloatArray:
    """Joint positions (N, J) that reach `target`, by `steps` damped Newton steps from `guess`, shape (N, J).

    Nothing is said about success: compare `forward` with the target. With the same number of steps for every pose the
    answer is a smooth function of target and guess, also where the arm has more joints than needed. `limited` keeps
    every step within the joint limits.
    """
    joints = np.array(guess, np.float64)
    columns = target.rotation.transpose(2, 1, 0)
    low, high = np.array(arm.low), np.array(arm.high)
    for _ in range(steps):
        frames = _frames(arm, joints, True)
        matrix = _jacobian(frames)
        error = np.concatenate((target.position.T - frames.end, _rotation_error(frames.columns, columns)))
        square = np.empty((6, 6, joints.shape[0]))
        for row in range(6):
            square[row, row:] = square[row:, row] = (matrix[row] * matrix[row:]).sum(axis=1)
            square[row, row] += damping
        change = (matrix * _solve_positive(square, error)[:, None]).sum(axis=0)
        largest = np.abs(change).max(axis=0)
        change *= np.minimum(1.0, _LARGEST_STEP_RAD / np.maximum(largest, 1e-12))
        joints += change.T
        if limited:
            joints = np.clip(joints, low, high)
    return joints


def _frames(arm: Arm, joints: FloatArray, with_tool: bool) -> _Frames:
    fixed = _fixed(arm, with_tool)
    angles = np.ascontiguousarray(joints.T)
    cosines, sines = np.cos(angles), np.sin(angles)
    count, num = angles.shape
    axis, origin = np.empty((count, 3, num)), np.empty((count, 3, num))
    x, y, z, end = (np.repeat(fixed[0][:3, column, None], num, axis=1) for column in range(4))
    for joint in range(count):
        axis[joint], origin[joint] = z, end
        cosine, sine, part = cosines[joint], sines[joint], fixed[joint + 1]
        x, y = cosine * x + sine * y, cosine * y - sine * x
        end = end + _combined(x, y, z, part[:3, 3])
        x, y, z = (_combined(x, y, z, part[:3, column]) for column in range(3))
    return _Frames(axis=axis, origin=origin, columns=np.stack((x, y, z)), end=end)


@cache
def _fixed(arm: Arm, with_tool: bool) -> FloatArray:
    return arm.fixed_transforms(with_tool=with_tool)


def _combined(x: FloatArray, y: FloatArray, z: FloatArray, factors: FloatArray) -> FloatArray:
    """The combination of three vectors, each (3, N); most factors of a Denavit-Hartenberg table are 0 or 1."""
    total = None
    for vector, factor in zip((x, y, z), factors.tolist(), strict=True):
        if factor != 0.0:
            term = vector if factor == 1.0 else factor * vector
            total = term if total is None else total + term
    return np.zeros_like(x) if total is None else total


def _jacobian(frames: _Frames) -> FloatArray:
    """Shape (6, J, N)."""
    x, y, z = frames.axis.transpose(1, 0, 2)
    arm_x, arm_y, arm_z = (frames.end - frames.origin).transpose(1, 0, 2)
    return np.stack((y * arm_z - z * arm_y, z * arm_x - x * arm_z, x * arm_y - y * arm_x, x, y, z))


def _rotation_error(columns: FloatArray, wanted: FloatArray) -> FloatArray:
    """Axis times angle (3, N) in the base frame that turns the frames `columns` (3, 3, N) into `wanted`."""
    vector = np.zeros(columns.shape[1:])
    trace = np.zeros(columns.shape[2])
    for have, want in zip(columns, wanted, strict=True):
        vector[0] += have[1] * want[2] - have[2] * want[1]
        vector[1] += have[2] * want[0] - have[0] * want[2]
        vector[2] += have[0] * want[1] - have[1] * want[0]
        trace += have[0] * want[0] + have[1] * want[1] + have[2] * want[2]
    vector *= 0.5
    sine = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    safe = np.where(sine < 1e-12, 1.0, sine)
    return vector * np.where(sine < 1e-12, 1.0, np.arctan2(sine, 0.5 * (trace - 1.0)) / safe)


def _solve_positive(square: FloatArray, right: FloatArray) -> FloatArray:
    """Solve positive definite systems (n, n, N) for right sides (n, N) by elimination; both are overwritten."""
    size = len(right)
    for pivot in range(size - 1):
        rows = slice(pivot + 1, size)
        factor = square[rows, pivot] / square[pivot, pivot]
        square[rows, rows] -= factor[:, None] * square[pivot, rows]
        right[rows] -= factor * right[pivot]
    for row in reversed(range(size)):
        if row + 1 < size:
            right[row] -= (square[row, row + 1 :] * right[row + 1 :]).sum(axis=0)
        right[row] /= square[row, row]
    return right
