"""The examples against a real gateway: the loop over an environment, and the node over a stand-in for ROS 2 alone.

`rclpy` cannot be had as a package of Python's. The stand-in has what the node uses of its public interface, and
delivers messages by calling the node's callbacks; whether real ROS 2 does so as well is not shown here.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from examples import ros2_node
from serving.routes import RobotRecord
from tests.integration.gateways import KEY, Directory, hashed, running_gateway
from tests.unit.data.bundles import ROVER
from tests.unit.examples.test_ros2_node import STATE, image, joints
from volano.embodiment.shipped import SCOUT
from volano.inference.client import RobotClient


@pytest.mark.skipif(find_spec("miniworld") is None, reason="needs the extra `sim`")
def test_a_served_policy_drives_an_environment_to_its_end() -> None:
    from examples.gymnasium_loop import SimulatedEnv, drive
    from volano.evaluate.simulators.build import build

    record = RobotRecord(id="scout-01", embodiment=SCOUT)
    with running_gateway(Directory(robots={hashed(KEY): record})) as running, closing(build("scout")) as simulator:
        env = SimulatedEnv(simulator, "red")
        observation, info = env.reset(seed=3)
        assert env.observation_space.contains(observation)
        assert env.action_space.contains(np.array(SCOUT.hold, np.float32))
        assert info["instruction"] == "go to the red box"
        with closing(RobotClient(running.url, KEY, SCOUT, "scout-01", 5.0, images="png")) as client:
            done = drive(env, client, SCOUT, attempt="example-1", task="red", seed=3)
        assert done.held == 0
        assert len(running.access) == -(-done.ticks // SCOUT.execute)
        assert {(one.episode, one.outcome) for one in running.access} == {("example-1", "answered")}


@dataclass
class Node:
    """What the example uses of `rclpy.node.Node`."""

    name: str
    subscriptions: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    published: list[list[float]] = field(default_factory=list)
    timer: Callable[[], None] = lambda: None
    period: float = 0.0

    def __post_init__(self) -> None:
        NODES.append(self)

    def declare_parameter(self, name: str, default: str) -> Any:
        return SimpleNamespace(value=PARAMETERS.get(name, default))

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        assert (kind, topic, depth) == (SimpleNamespace, "/volano/command", 1)
        return SimpleNamespace(publish=lambda message: self.published.append(list(message.data)))

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], depth: int) -> None:
        assert (kind, depth > 0) == (SimpleNamespace, True)
        self.subscriptions[topic] = callback

    def create_timer(self, period: float, callback: Callable[[], None]) -> None:
        self.period, self.timer = period, callback

    def destroy_node(self) -> None:
        self.subscriptions.clear()


NODES: list[Node] = []
PARAMETERS: dict[str, str] = {}


def spin(node: Node) -> None:
    """Deliver what the robot's drivers publish, and let the node's timer run, until it moves."""
    bright = np.full((64, 64, 3), 200, np.uint8)
    for _ in range(100):
        node.subscriptions["/ego/image_raw"](image(bright))
        node.subscriptions["/rear/image_raw"](image(bright[:48]))
        node.subscriptions["/joint_states"](joints(**dict.fromkeys(STATE, 0.1)))
        node.timer()
        if any(node.published[-1]):
            return
        time.sleep(node.period / 2)


def test_the_node_publishes_what_the_policy_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    messages = SimpleNamespace(Image=SimpleNamespace, JointState=SimpleNamespace, Float64MultiArray=SimpleNamespace)
    plain = dict.fromkeys(("init", "shutdown"), lambda: None)
    modules: dict[str, dict[str, Any]] = {
        "rclpy": {**plain, "spin": spin},
        "rclpy.node": {"Node": Node},
        "sensor_msgs": {},
        "sensor_msgs.msg": vars(messages),
        "std_msgs": {},
        "std_msgs.msg": vars(messages),
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    contract = tmp_path / "rover.json"
    contract.write_text(json.dumps(ROVER.to_json()))
    monkeypatch.setenv("VOLANO_KEY", KEY)
    with running_gateway() as running:
        told = {"url": running.url, "robot": "rover-01", "contract": str(contract), "task": "go-to"}
        monkeypatch.setattr(sys.modules[__name__], "PARAMETERS", told | {"instruction": "go to the ball"})
        ros2_node.main()
        [node] = NODES
        assert node.period == 1 / ROVER.rate_hz
        assert any(node.published[-1]), "it moves"
        assert all(len(row) == len(ROVER.action) for row in node.published)
        assert {one.outcome for one in running.access} == {"answered"}
        assert running.act.seen[0]["prompt"] == "go to the ball"
