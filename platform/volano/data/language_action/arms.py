"""Real robot arms as data: Denavit-Hartenberg tables, joint limits, a home pose and a parallel gripper.

Lengths are metres, angles radians, in each maker's own base frame with x ahead, y to the left and z up; every home
points the gripper straight down. Tables are the makers' published ones, named at each arm. A continuous joint is given
two turns, so that its channel has limits. The tests compare poses with what makers measured and print, and with their
robot descriptions; the TM12's table with its reach alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from volano.data.language_action.rotations import FloatArray
from volano.errors import Code, DataError

Convention = Literal["standard", "modified"]
_HALF = math.pi / 2


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm with its gripper."""

    tag: str
    """The embodiment's tag."""
    convention: Convention
    """`standard`: Rz(q + offset) Tz(d) Tx(a) Rx(alpha) per row. `modified`: Rx(alpha) Tx(a) Rz(q + offset) Tz(d)."""
    table: tuple[tuple[float, float, float, float], ...]
    """Per joint: a, d (m), alpha, offset (rad)."""
    base_alpha: float = 0.0
    """Rotation about x that stands before the first row."""
    flange: float = 0.0
    """From the last row's frame to the mounting flange, along its z (m)."""
    tool_yaw: float = 0.0
    """Rotation of the gripper about the flange's z."""
    tool: float
    """From the flange to the point between the fingertips, along the flange's z (m)."""
    stroke: float
    """Widest opening of the gripper (m)."""
    low: tuple[float, ...]
    """Smallest joint positions."""
    high: tuple[float, ...]
    speed: tuple[float, ...]
    """Largest joint velocities (rad/s)."""
    home: tuple[float, ...]
    reach: float
    """The maker's figure, from the base's axis to the flange (m)."""

    @property
    def num_joints(self) -> int:
        """Joints, without the gripper."""
        return len(self.table)

    def fixed_transforms(self, *, with_tool: bool = True) -> FloatArray:
        """The constant parts of the chain, shape (J + 1, 4, 4): the pose is F0 Rz(q1) F1 Rz(q2) ... Rz(qJ) FJ.

        It ends between the fingertips, or at the flange without the tool.
        """
        parts = [_rotation_x(self.base_alpha)]
        for a, d, alpha, offset in self.table:
            turn = _rotation_z(offset) @ _translation(0.0, d)
            if self.convention == "standard":
                parts.append(turn @ _translation(a, 0.0) @ _rotation_x(alpha))
            else:
                parts[-1] = parts[-1] @ _rotation_x(alpha) @ _translation(a, 0.0)
                parts.append(turn)
        parts[-1] = parts[-1] @ _translation(0.0, self.flange)
        if with_tool:
            parts[-1] = parts[-1] @ _rotation_z(self.tool_yaw) @ _translation(0.0, self.tool)
        fixed = np.stack(parts)
        fixed[np.abs(fixed) < 1e-15] = 0.0
        return fixed


def _rotation_x(angle: float) -> FloatArray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]], np.float64)


def _rotation_z(angle: float) -> FloatArray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def _translation(x: float, z: float) -> FloatArray:
    moved = np.eye(4)
    moved[0, 3], moved[2, 3] = x, z
    return moved


def _degrees(*angles: float) -> tuple[float, ...]:
    return tuple(math.radians(angle) for angle in angles)


PANDA = Arm(
    tag="panda",
    convention="modified",
    table=(
        (0.0, 0.333, 0.0, 0.0),
        (0.0, 0.0, -_HALF, 0.0),
        (0.0, 0.316, _HALF, 0.0),
        (0.0825, 0.0, _HALF, 0.0),
        (-0.0825, 0.384, -_HALF, 0.0),
        (0.0, 0.0, _HALF, 0.0),
        (0.088, 0.0, _HALF, 0.0),
    ),
    flange=0.107,
    tool_yaw=-math.pi / 4,
    tool=0.1034,
    stroke=0.08,
    low=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    high=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    speed=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    home=(0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, _HALF, math.pi / 4),
    reach=0.855,
)
"""Franka Emika Panda: DH table and limits of the Franka Control Interface's page on the robot, the Franka Hand."""

UR5E = Arm(
    tag="ur5e",
    convention="standard",
    table=(
        (0.0, 0.1625, _HALF, 0.0),
        (-0.425, 0.0, 0.0, 0.0),
        (-0.3922, 0.0, 0.0, 0.0),
        (0.0, 0.1333, _HALF, 0.0),
        (0.0, 0.0997, -_HALF, 0.0),
        (0.0, 0.0996, 0.0, 0.0),
    ),
    tool=0.174,
    stroke=0.085,
    low=_degrees(*[-360] * 6),
    high=_degrees(*[360] * 6),
    speed=_degrees(*[180] * 6),
    home=(math.pi, -_HALF, _HALF, -_HALF, -_HALF, 0.0),
    reach=0.85,
)
"""Universal Robots UR5e: the maker's article on DH parameters and its data sheet; a Robotiq 2F-85 gripper."""

UR10E = Arm(
    tag="ur10e",
    convention="standard",
    table=(
        (0.0, 0.1807, _HALF, 0.0),
        (-0.6127, 0.0, 0.0, 0.0),
        (-0.57155, 0.0, 0.0, 0.0),
        (0.0, 0.17415, _HALF, 0.0),
        (0.0, 0.11985, -_HALF, 0.0),
        (0.0, 0.11655, 0.0, 0.0),
    ),
    tool=0.174,
    stroke=0.085,
    low=_degrees(*[-360] * 6),
    high=_degrees(*[360] * 6),
    speed=_degrees(120, 120, 180, 180, 180, 180),
    home=(math.pi, -_HALF, _HALF, -_HALF, -_HALF, 0.0),
    reach=1.3,
)
"""Universal Robots UR10e: the maker's article on DH parameters and its data sheet; a Robotiq 2F-85 gripper."""

XARM7 = Arm(
    tag="xarm7",
    convention="modified",
    table=(
        (0.0, 0.267, 0.0, 0.0),
        (0.0, 0.0, -_HALF, 0.0),
        (0.0, 0.293, _HALF, 0.0),
        (0.0525, 0.0, _HALF, 0.0),
        (0.0775, 0.3425, _HALF, 0.0),
        (0.0, 0.0, _HALF, 0.0),
        (0.076, 0.097, -_HALF, 0.0),
    ),
    tool=0.172,
    stroke=0.085,
    low=_degrees(-360, -118, -360, -11, -360, -97, -360),
    high=_degrees(360, 120, 360, 225, 360, 180, 360),
    speed=_degrees(*[180] * 7),
    home=(0.0, -0.247, 0.0, 0.909, 0.0, 1.156, 0.0),
    reach=0.7,
)
"""UFACTORY xArm7: modified DH table and limits of the xArm user manual; the xArm gripper."""

GEN3 = Arm(
    tag="gen3",
    convention="standard",
    base_alpha=math.pi,
    table=(
        (0.0, -0.2848, _HALF, 0.0),
        (0.0, -0.0118, _HALF, math.pi),
        (0.0, -0.4208, _HALF, math.pi),
        (0.0, -0.0128, _HALF, math.pi),
        (0.0, -0.3143, _HALF, math.pi),
        (0.0, 0.0, _HALF, math.pi),
        (0.0, -0.1674, math.pi, math.pi),
    ),
    tool=0.12,
    stroke=0.085,
    low=_degrees(-360, -128.9, -360, -147.8, -360, -120.3, -360),
    high=_degrees(360, 128.9, 360, 147.8, 360, 120.3, 360),
    speed=(1.3963, 1.3963, 1.3963, 1.3963, 1.2218, 1.2218, 1.2218),
    home=(0.0, 0.65, 0.0, 1.89, 0.0, math.pi - 0.65 - 1.89, -_HALF),
    reach=0.902,
)
"""Kinova Gen3, seven joints: DH table and limits of the maker's user guide; a Robotiq 2F-85 as the maker mounts it."""

TM12 = Arm(
    tag="tm12",
    convention="standard",
    table=(
        (0.0, 0.1652, -_HALF, 0.0),
        (0.6361, 0.0, 0.0, -_HALF),
        (0.5579, -0.1563, 0.0, 0.0),
        (0.0, 0.0, _HALF, _HALF),
        (0.0, 0.106, _HALF, 0.0),
        (0.0, 0.11315, 0.0, 0.0),
    ),
    tool=0.174,
    stroke=0.085,
    low=_degrees(-270, -180, -166, -180, -180, -270),
    high=_degrees(270, 180, 166, 180, 180, 270),
    speed=_degrees(120, 120, 180, 180, 180, 180),
    home=(0.0, 0.0, _HALF, 0.0, _HALF, 0.0),
    reach=1.3,
)
"""Techman TM12: nominal DH table and limits of the maker's robot description; a Robotiq 2F-85 gripper."""

ARMS = {arm.tag: arm for arm in (PANDA, UR10E, UR5E, GEN3, TM12, XARM7)}
"""The six arms of Qwen-VLA's corpus, by tag."""


def arm_of(tag: str) -> Arm:
    """The arm of that tag; raises DataError for an unknown one."""
    if tag not in ARMS:
        raise DataError(Code.CONTRACT_UNKNOWN, f"no arm {tag!r}", f"use one of: {', '.join(sorted(ARMS))}")
    return ARMS[tag]
