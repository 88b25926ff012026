"""What LeRobot's stock client sends, whole and well-formed: what tests ask with, and what sweeps change.

The classes here are pickled under the client's own names, so that the bytes are those of a stock client; a golden file
of such a client says whether they are.
"""

import io
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.unit.data.bundles import ROVER
from volano.embodiment.contract import Camera, Channel, Embodiment

MODULE = "lerobot.async_inference.helpers"
KEY = "key-of-so101-07"
_MOTORS = ("shoulder_pan.pos", "elbow_flex.pos", "gripper.pos")
SO101: Embodiment = replace(
    ROVER,
    tag="so101",
    body="single arm",
    cameras=(Camera(name="front", height=4, width=6), Camera(name="wrist", height=2, width=2)),
    state=tuple(Channel(name=name, unit="1", low=-110, high=110) for name in _MOTORS),
    action=tuple(Channel(name=name, unit="1", low=-100, high=100) for name in _MOTORS),
    hold=(0.0, 0.0, 0.0),
)
"""An arm with small cameras."""


@dataclass
class TimedObservation:
    """As the client has it."""

    timestamp: float
    timestep: int
    observation: dict[str, Any]
    must_go: bool = False


@dataclass
class RemotePolicyConfig:
    """As the client has it."""

    policy_type: str
    pretrained_name_or_path: str
    lerobot_features: dict[str, Any]
    actions_per_chunk: int
    device: str = "cpu"
    rename_map: dict[str, str] = field(default_factory=dict)


@dataclass
class TimedAction:
    """As the client has it."""

    timestamp: float
    timestep: int
    action: Any


def pickled(value: Any, protocol: int = 4) -> bytes:
    """A pickle in which the classes above are LeRobot's."""
    module = types.ModuleType(MODULE)
    for known in (TimedObservation, RemotePolicyConfig, TimedAction):
        known.__module__ = MODULE
        setattr(module, known.__name__, known)
    names = (MODULE, MODULE.split(".", maxsplit=1)[0])
    sys.modules.update(dict.fromkeys(names, module))
    try:
        return pickle.dumps(value, protocol)
    finally:
        for name in names:
            del sys.modules[name]


def unpickled(data: bytes) -> list[TimedAction]:
    """What a client makes of a chunk; its tensors stay arrays."""
    known = {
        (MODULE, "TimedAction"): TimedAction,
        ("numpy", "frombuffer"): np.frombuffer,
        ("torch", "from_numpy"): lambda array: array,
    }

    class Client(pickle.Unpickler):
        """Finds what the client finds."""

        def find_class(self, module: str, name: str) -> Any:
            return known[module, name]

    actions: list[TimedAction] = Client(io.BytesIO(data)).load()
    return actions


def alias(robot: str = "so101-07", key: str = KEY, task: str = "tidy%20up") -> str:
    """A policy's name that says whose the client is."""
    return f"volano/{task}@stable?robot={robot}&key={key}"


def features(robot: Embodiment = SO101) -> dict[str, Any]:
    """As the client makes them of its robot."""
    motors = [channel.name for channel in robot.state]
    made: dict[str, Any] = {"observation.state": {"dtype": "float32", "shape": (len(motors),), "names": motors}}
    for camera in robot.cameras:
        shape = (camera.height, camera.width, 3)
        names = ["height", "width", "channels"]
        made[f"observation.images.{camera.name}"] = {"dtype": "image", "shape": shape, "names": names}
    return made


def setup(robot: Embodiment = SO101, **changes: Any) -> RemotePolicyConfig:
    """What the client says first."""
    return replace(RemotePolicyConfig("act", alias(), features(robot), robot.horizon, "cpu"), **changes)


def raw(robot: Embodiment = SO101, number: int = 0, task: str = "pick the ball") -> dict[str, Any]:
    """What a robot perceives, different for every number."""
    random = np.random.default_rng(number)
    sent: dict[str, Any] = {channel.name: random.uniform(-1, 1) for channel in robot.state}
    for camera in robot.cameras:
        sent[camera.name] = random.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
    return sent | {"task": task}


def observation(robot: Embodiment = SO101, number: int = 0, **changes: Any) -> TimedObservation:
    """What the client sends on and on."""
    made = TimedObservation(1.7e9 + number, number, raw(robot, number), True)
    return replace(made, **changes)


def message(data: bytes, state: int | None = None) -> bytes:
    """A protobuf message: of an observation's part where there is a state, else of bytes alone."""
    head = b"" if state is None else b"\x08" + bytes([state])
    size = bytearray()
    left = len(data)
    while left >= 128:
        size.append(left % 128 + 128)
        left //= 128
    size.append(left)
    tag = b"\x0a" if state is None else b"\x12"
    return head + (tag + bytes(size) + data if data else b"")


def setups() -> Iterator[tuple[str, bytes]]:
    """A name and a whole pickle for `read_setup`."""
    yield "setup", pickled(setup())
    yield "setup, protocol 5", pickled(setup(), 5)


def observations() -> Iterator[tuple[str, bytes]]:
    """A name and a whole pickle for `read_observation`, of `SO101`."""
    sent = raw()
    yield "observation", pickled(observation())
    yield "observation, protocol 5", pickled(observation(), 5)
    numbers = {name: np.float32(value) if isinstance(value, float) else value for name, value in sent.items()}
    yield "NumPy's numbers", pickled(observation(observation=numbers))
    turned = {**sent, "front": np.asfortranarray(sent["front"])}
    yield "an image by columns", pickled(observation(observation=turned))
    yield "an image by columns, protocol 5", pickled(observation(observation=turned), 5)
    yield "an image that is a view", pickled(observation(observation={**sent, "front": sent["front"][..., ::-1]}))


def messages() -> Iterator[tuple[str, bytes]]:
    """A name and a whole message of the service: for `read_data` the first, for `read_part` the others."""
    yield "PolicySetup", message(pickled(setup()))
    data = pickled(observation())
    yield "Observation, whole", message(data, 3)
    yield "Observation, begin", message(data[:100], 1)
    yield "Observation, middle", message(data[100:200], 2)
