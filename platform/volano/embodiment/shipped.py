"""The embodiments that come with Volano: four robots in three task families, all of them simulated.

Planar bodies share one convention: x ahead, y to the left, angles anti-clockwise. Limits of actions are what a robot
can be commanded; limits of states are what its simulator can report under any command, with a little room.
"""

from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.errors import Code, ContractError

SAWYER = Embodiment(
    tag="sawyer",
    family="manipulation",
    body="single arm",
    cameras=(Camera(name="ego", height=64, width=64),),
    state=(
        Channel(name="hand_x", unit="m", low=-0.6, high=0.6),
        Channel(name="hand_y", unit="m", low=0.3, high=1.1),
        Channel(name="hand_z", unit="m", low=-0.1, high=0.75),
        Channel(name="gripper_opening", unit="1", low=-0.1, high=1.1),
    ),
    action=(
        Channel(name="delta_x", unit="1", low=-1.0, high=1.0),
        Channel(name="delta_y", unit="1", low=-1.0, high=1.0),
        Channel(name="delta_z", unit="1", low=-1.0, high=1.0),
        Channel(name="gripper", unit="1", low=-1.0, high=1.0),
    ),
    control_mode="delta end-effector position and gripper effort",
    rate_hz=20.0,
    horizon=8,
    execute=4,
    hold=(0.0, 0.0, 0.0, 0.0),
)

SCOUT = Embodiment(
    tag="scout",
    family="navigation",
    body="mobile base",
    cameras=(Camera(name="ego", height=64, width=64),),
    state=(
        Channel(name="forward_speed", unit="m/s", low=-1.1, high=1.1),
        Channel(name="yaw_rate", unit="rad/s", low=-2.2, high=2.2),
    ),
    action=(
        Channel(name="forward_speed", unit="m/s", low=-1.0, high=1.0),
        Channel(name="yaw_rate", unit="rad/s", low=-2.0, high=2.0),
    ),
    control_mode="differential drive",
    rate_hz=5.0,
    horizon=8,
    execute=4,
    hold=(0.0, 0.0),
)

GLIDER = Embodiment(
    tag="glider",
    family="navigation",
    body="holonomic mobile base",
    cameras=(Camera(name="ego", height=64, width=64),),
    state=(
        Channel(name="speed_x", unit="m/s", low=-1.5, high=1.5),
        Channel(name="speed_y", unit="m/s", low=-1.5, high=1.5),
        Channel(name="yaw_rate", unit="rad/s", low=-2.2, high=2.2),
    ),
    action=(
        Channel(name="speed_x", unit="m/s", low=-1.0, high=1.0),
        Channel(name="speed_y", unit="m/s", low=-1.0, high=1.0),
        Channel(name="yaw_rate", unit="rad/s", low=-2.0, high=2.0),
    ),
    control_mode="holonomic velocity",
    rate_hz=10.0,
    horizon=8,
    execute=6,
    hold=(0.0, 0.0, 0.0),
)

CAR = Embodiment(
    tag="car",
    family="trajectory",
    body="car",
    cameras=(Camera(name="ego", height=64, width=64),),
    state=(
        Channel(name="speed", unit="m/s", low=-5.0, high=20.0),
        Channel(name="yaw_rate", unit="rad/s", low=-6.0, high=6.0),
        Channel(name="lane_offset", unit="m", low=-30.0, high=30.0),
        Channel(name="lane_heading", unit="rad", low=-3.2, high=3.2),
    ),
    action=(
        Channel(name="dx", unit="m", low=-1.0, high=4.0),
        Channel(name="dy", unit="m", low=-3.0, high=3.0),
        Channel(name="dtheta", unit="rad", low=-1.5, high=1.5),
    ),
    control_mode="waypoints in the ego frame",
    action_frame="anchored_se2",
    rate_hz=5.0,
    horizon=8,
    execute=2,
    hold=(0.0, 0.0, 0.0),
)

SHIPPED = {robot.tag: robot for robot in (SAWYER, SCOUT, GLIDER, CAR)}


def shipped(tag: str) -> Embodiment:
    """The shipped embodiment of that tag."""
    if tag not in SHIPPED:
        raise ContractError(
            Code.CONTRACT_UNKNOWN, f"no embodiment {tag!r}", f"use one of: {', '.join(sorted(SHIPPED))}"
        )
    return SHIPPED[tag]
