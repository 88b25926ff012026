"""The contract of each arm in the language-action corpus, and its numbers: state and action rows of a motion.

State is the joints and the gripper's opening. An action row leads from its tick to the next: displacement and rotation
(axis times angle) of the gripper in the base frame, and the opening at the next tick. A motion's last row keeps still.
"""

from functools import cache

import numpy as np

from volano.data.language_action.arms import Arm
from volano.data.language_action.motion import ANGULAR_SPEED, LINEAR_SPEED
from volano.data.language_action.rotations import FloatArray, logarithm, transposed
from volano.embodiment.contract import Camera, Channel, Embodiment

RATE_HZ = 10.0
LONGEST_HORIZON = 16
_ROOM = 1.25
"""The fingertips leave their straight line a little, so a step may be a little longer than the line's."""
_AXES = ("x", "y", "z")


@cache
def embodiment_of(arm: Arm, horizon: int = LONGEST_HORIZON) -> Embodiment:
    """The arm's contract at `RATE_HZ`, with chunks of that many rows and at most `LONGEST_HORIZON`. Its camera is there
    because a contract has one; the corpus has no images."""
    horizon = min(horizon, LONGEST_HORIZON)
    step, turn = _ROOM * LINEAR_SPEED / RATE_HZ, _ROOM * ANGULAR_SPEED / RATE_HZ
    joints = zip(arm.low, arm.high, strict=True)
    gripper = Channel(name="gripper_opening", unit="1", low=-0.01, high=1.01)
    return Embodiment(
        tag=arm.tag,
        family="manipulation",
        body="single arm",
        cameras=(Camera(name="ego", height=64, width=64),),
        state=(
            *(
                Channel(name=f"joint_{number}", unit="rad", low=low, high=high)
                for number, (low, high) in enumerate(joints, start=1)
            ),
            gripper,
        ),
        action=(
            *(Channel(name=f"delta_{axis}", unit="m", low=-step, high=step) for axis in _AXES),
            *(Channel(name=f"delta_rotation_{axis}", unit="rad", low=-turn, high=turn) for axis in _AXES),
            gripper,
        ),
        control_mode="delta end-effector pose in the base frame and gripper opening",
        rate_hz=RATE_HZ,
        horizon=horizon,
        execute=max(1, horizon // 2),
        hold=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    )


def state_rows(joints: FloatArray, opening: FloatArray) -> FloatArray:
    """Shape (T, J + 1) of joints (T, J) and opening (T,)."""
    return np.concatenate((joints, opening[:, None]), axis=1)


def action_rows(position: FloatArray, rotation: FloatArray, opening: FloatArray) -> FloatArray:
    """Shape (T, 7) of positions (T, 3), rotations (T, 3, 3) and opening (T,)."""
    actions = np.zeros((len(position), 7))
    actions[:-1, :3] = np.diff(position, axis=0)
    actions[:-1, 3:6] = logarithm(rotation[1:] @ transposed(rotation[:-1]))
    actions[:, 6] = np.append(opening[1:], opening[-1:])
    return actions
