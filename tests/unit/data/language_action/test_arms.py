"""Each arm stands where its maker says: measured and printed poses, and the same arm from its maker's joint frames.

A maker's robot description gives one frame per joint as a displacement and roll, pitch and yaw; no such number stands
in the Denavit-Hartenberg tables under test, whose convention differs from arm to arm.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.data.language_action.arms import ARMS, arm_of
from volano.data.language_action.kinematics import forward, inverse
from volano.data.language_action.plans import home_rotation
from volano.data.language_action.rotations import FloatArray, exponential, logarithm, transposed
from volano.errors import DataError

HALF = math.pi / 2
Frame = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Displacement (m), and roll, pitch and yaw (rad)."""
DESCRIPTIONS: dict[str, tuple[Frame, ...]] = {
    "panda": (
        ((0, 0, 0.333), (0, 0, 0)),
        ((0, 0, 0), (-HALF, 0, 0)),
        ((0, -0.316, 0), (HALF, 0, 0)),
        ((0.0825, 0, 0), (HALF, 0, 0)),
        ((-0.0825, 0.384, 0), (-HALF, 0, 0)),
        ((0, 0, 0), (HALF, 0, 0)),
        ((0.088, 0, 0), (HALF, 0, 0)),
        ((0, 0, 0.107), (0, 0, 0)),
    ),
    "ur5e": (
        ((0, 0, 0.1625), (0, 0, 0)),
        ((0, 0, 0), (HALF, 0, 0)),
        ((-0.425, 0, 0), (0, 0, 0)),
        ((-0.3922, 0, 0.1333), (0, 0, 0)),
        ((0, -0.0997, 0), (HALF, 0, 0)),
        ((0, 0.0996, 0), (HALF, math.pi, math.pi)),
        ((0, 0, 0), (0, 0, 0)),
    ),
    "xarm7": (
        ((0, 0, 0.267), (0, 0, 0)),
        ((0, 0, 0), (-HALF, 0, 0)),
        ((0, -0.293, 0), (HALF, 0, 0)),
        ((0.0525, 0, 0), (HALF, 0, 0)),
        ((0.0775, -0.3425, 0), (HALF, 0, 0)),
        ((0, 0, 0), (HALF, 0, 0)),
        ((0.076, 0.097, 0), (-HALF, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ),
    "gen3": (
        ((0, 0, 0.15643), (math.pi, 0, 0)),
        ((0, 0.005375, -0.12838), (HALF, 0, 0)),
        ((0, -0.21038, -0.006375), (-HALF, 0, 0)),
        ((0, 0.006375, -0.21038), (HALF, 0, 0)),
        ((0, -0.20843, -0.006375), (-HALF, 0, 0)),
        ((0, 0.00017505, -0.10593), (HALF, 0, 0)),
        ((0, -0.10593, -0.00017505), (-HALF, 0, 0)),
        ((0, 0, -0.061525), (math.pi, 0, 0)),
    ),
}
"""The makers' robot descriptions, from the base to the flange; a joint turns about its frame's z."""
ROUNDED_M = {"gen3": 5e-4}
"""Kinova's guide rounds to 0.1 mm what its description gives to 0.01 mm."""


def described(tag: str, joints: FloatArray) -> FloatArray:
    """The flange's pose by the maker's description, shape (4, 4)."""
    pose = np.eye(4)
    for number, (shift, (roll, pitch, yaw)) in enumerate(DESCRIPTIONS[tag]):
        frame = np.eye(4)
        frame[:3, 3] = shift
        turns = (np.array([0, 0, yaw]), np.array([0, pitch, 0]), np.array([roll, 0, 0]))
        frame[:3, :3] = np.linalg.multi_dot([exponential(turn.astype(float)) for turn in turns])
        pose = pose @ frame
        if number < len(joints):
            turned = np.eye(4)
            turned[:3, :3] = exponential(np.array([0.0, 0.0, joints[number]]))
            pose = pose @ turned
    return pose


def joints_of(tag: str) -> st.SearchStrategy[FloatArray]:
    arm = ARMS[tag]
    return st.tuples(*(st.floats(low, high) for low, high in zip(arm.low, arm.high, strict=True))).map(np.array)


@pytest.mark.parametrize("tag", sorted(DESCRIPTIONS))
@settings(max_examples=60)
@given(data=st.data())
def test_tables_agree_with_the_makers_descriptions(tag: str, data: st.DataObject) -> None:
    joints = data.draw(joints_of(tag))
    found, wanted = forward(ARMS[tag], joints[None], with_tool=False), described(tag, joints)
    np.testing.assert_allclose(found.position[0], wanted[:3, 3], atol=ROUNDED_M.get(tag, 1e-9))
    turned = logarithm(wanted[:3, :3].T @ found.rotation[0])
    assert np.abs(turned).max() < 1e-6 or np.trace(wanted[:3, :3].T @ found.rotation[0]) > 3 - 1e-9


def test_a_panda_that_was_measured() -> None:
    """The state that the maker prints in its Control Interface's first example: desired joints and pose."""
    joints = np.array([[0.0167347, -0.762775, -0.0206678, -2.34352, -0.0305677, 1.53975, 0.753862]])
    printed = (0.998582, 0.0329548, -0.041575, 0, 0.0336027, -0.999313, 0.0149824, 0, -0.0410535, -0.0163585,
               -0.999023, 0, 0.305444, -0.00810967, 0.483251, 1)  # fmt: skip
    wanted = np.array(printed).reshape(4, 4).T
    found = forward(ARMS["panda"], joints)
    np.testing.assert_allclose(found.position[0], wanted[:3, 3], atol=1e-4)
    np.testing.assert_allclose(found.rotation[0], wanted[:3, :3], atol=2e-4)


@pytest.mark.parametrize(
    ("tag", "position", "rotation"),
    [
        ("ur5e", (-0.8172, -0.2329, 0.0628), ((1, 0, 0), (0, 0, -1), (0, 1, 0))),
        ("ur10e", (-1.18425, -0.2907, 0.06085), ((1, 0, 0), (0, 0, -1), (0, 1, 0))),
        ("xarm7", (0.206, 0.0, 0.1205), ((1, 0, 0), (0, -1, 0), (0, 0, -1))),
        ("gen3", (0.0, -0.0246, 1.1873), ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    ],
)
def test_the_zero_pose_is_the_printed_one(
    tag: str, position: tuple[float, ...], rotation: tuple[tuple[float, ...], ...]
) -> None:
    """Universal Robots' calculation sheet; UFACTORY's initial position of 206, 0, 120.5 mm and 180, 0, 0 degrees;
    Kinova's zero position, upright."""
    arm = ARMS[tag]
    found = forward(arm, np.zeros((1, arm.num_joints)), with_tool=False)
    np.testing.assert_allclose(found.position[0], position, atol=1e-6)
    np.testing.assert_allclose(found.rotation[0], rotation, atol=1e-9)


def test_the_tm12_reaches_as_far_as_its_data_sheet_says() -> None:
    """1300 mm, from the shoulder to the last joint's axis with the arm straight and the wrist in line."""
    lengths = [row[0] for row in ARMS["tm12"].table]
    assert sum(lengths) + ARMS["tm12"].table[4][1] == pytest.approx(1.3, abs=1e-9)


@pytest.mark.parametrize("tag", sorted(ARMS))
def test_the_inverse_reaches_what_is_near_home(tag: str) -> None:
    arm = ARMS[tag]
    home = np.array(arm.home)
    joints = home + np.random.default_rng(0).uniform(-0.15, 0.15, (20, arm.num_joints))
    target = forward(arm, joints)
    found = inverse(arm, target, np.tile(home, (20, 1)), steps=15, damping=1e-6, limited=True)
    reached = forward(arm, found)
    np.testing.assert_allclose(reached.position, target.position, atol=1e-5)
    assert np.abs(logarithm(transposed(reached.rotation) @ target.rotation)).max() < 1e-4


@pytest.mark.parametrize("tag", sorted(ARMS))
def test_home_points_down_within_the_limits(tag: str) -> None:
    arm = ARMS[tag]
    np.testing.assert_allclose(home_rotation(arm)[:, 2], (0, 0, -1), atol=2e-3)
    assert all(low <= angle <= high for low, angle, high in zip(arm.low, arm.home, arm.high, strict=True))


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(DataError, match="E-CONTRACT-002"):
        arm_of("sawyer")
