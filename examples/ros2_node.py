"""A ROS 2 node that lets a served policy drive a robot: cameras and joints in, commands out, at the contract's rate.

    VOLANO_KEY=... python -m examples.ros2_node --ros-args -p url:=ws://gateway:8700 -p robot:=arm-07 \\
        -p contract:=arm.json -p task:=pick -p instruction:="pick up the cup"

It subscribes to `/CAMERA/image_raw` of each camera and to `/joint_states`, and publishes `/volano/command`, one number
for each action channel. A robot whose sensors fell silent gets the contract's fallback. What it does is `Driver`, which
knows ROS 2 by its messages' fields only; `main` is the node around it. It was not run under ROS 2 yet.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.inference.guard import FloatArray, fallback_step
from volano.inference.streaming import StreamingClient

_SILENT_S = 0.5
"""A sensor that said nothing for so long says nothing about now."""
_ORDERS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0]}


class Image(Protocol):
    """The fields of `sensor_msgs/Image` that are read."""

    height: int
    width: int
    encoding: str
    step: int
    """Bytes of a row, padding included."""
    data: Any


class Joints(Protocol):
    """The fields of `sensor_msgs/JointState` that are read."""

    name: list[str]
    position: list[float]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the client wants of an observation."""

    images: Mapping[str, NDArray[np.uint8]]
    state: FloatArray


def to_rgb(message: Image) -> NDArray[np.uint8]:
    """A message's image as (height, width, 3). Raises ValueError for an encoding that is neither rgb8 nor bgr8, or
    bytes that do not fit."""
    if message.encoding not in _ORDERS:
        raise ValueError(f"images are {message.encoding!r}; publish rgb8 or bgr8")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return np.ascontiguousarray(pixels[..., _ORDERS[message.encoding]])


@dataclass(kw_only=True)
class Driver:
    """What the node does, without ROS 2. All times are seconds of one monotonic clock."""

    robot: Embodiment
    client: StreamingClient
    instruction: str
    tick: int = 0
    _images: dict[str, tuple[float, NDArray[np.uint8]]] = field(default_factory=dict)
    _joints: dict[str, tuple[float, float]] = field(default_factory=dict)
    _last: FloatArray | None = None

    def see(self, camera: str, message: Image, now: float) -> None:
        """An image came."""
        self._images[camera] = (now, to_rgb(message))

    def feel(self, message: Joints, now: float) -> None:
        """Positions of joints came, in any order; joints that the contract does not have are left out."""
        self._joints |= {name: (now, value) for name, value in zip(message.name, message.position, strict=True)}

    def seen(self, now: float) -> Seen | None:
        """The observation; None while a camera or joint of the contract is silent."""
        images = {name: image for name, (at, image) in self._images.items() if now - at <= _SILENT_S}
        joints = {name: value for name, (at, value) in self._joints.items() if now - at <= _SILENT_S}
        channels = [channel.name for channel in self.robot.state]
        if not images.keys() >= {camera.name for camera in self.robot.cameras} or not joints.keys() >= set(channels):
            return None
        state = np.array([joints[name] for name in channels], np.float32)
        return Seen(images={camera.name: images[camera.name] for camera in self.robot.cameras}, state=state)

    def command(self, now: float) -> list[float]:
        """What this tick executes: one number for each action channel. Called once per tick of the contract's rate."""
        observation = self.seen(now)
        if observation is None:
            row = fallback_step(self.robot, self._last)
        else:
            row = self.client.step(observation, self.instruction, self.tick).rows[0]
        self.tick += 1
        self._last = row
        return [float(value) for value in row]


def main() -> None:
    """Run the node until it is told to stop."""
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image as ImageMessage
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    rclpy.init()
    node = Node("volano")
    names = ("url", "robot", "contract", "task", "instruction", "attempt")
    given = {name: node.declare_parameter(name, "").value for name in names}
    robot = Embodiment.from_json(json.loads(Path(given["contract"]).read_text()))
    oldest_s = robot.horizon / robot.rate_hz
    client = StreamingClient(given["url"], os.environ["VOLANO_KEY"], robot, given["robot"], oldest_s=oldest_s)
    client.start_episode(given["attempt"] or f"ros-{time.time_ns()}", given["task"])
    driver = Driver(robot=robot, client=client, instruction=given["instruction"])
    publisher = node.create_publisher(Float64MultiArray, "/volano/command", 1)

    def watch(camera: str) -> None:
        topic = f"/{camera}/image_raw"
        node.create_subscription(ImageMessage, topic, lambda message: driver.see(camera, message, time.monotonic()), 1)

    for camera in robot.cameras:
        watch(camera.name)
    node.create_subscription(JointState, "/joint_states", lambda message: driver.feel(message, time.monotonic()), 10)
    node.create_timer(
        1 / robot.rate_hz, lambda: publisher.publish(Float64MultiArray(data=driver.command(time.monotonic())))
    )
    try:
        rclpy.spin(node)
    finally:
        client.close()
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
