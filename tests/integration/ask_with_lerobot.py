"""Runs in LeRobot's environment, without Volano: its own async inference client against a gateway.

python ask_with_lerobot.py calls PORT ALIAS COUNT FILE
python ask_with_lerobot.py robot PORT ALIAS COUNT FILE
`calls` asks COUNT times through its stub, records and chunking; FILE gets, as JSON, for each call a digest of what was
sent, a digest of the actions, their type, shape and first timestep, and the seconds from sending to having them.
`robot` runs its whole RobotClient with a robot that is only numbers, until it acted COUNT times; FILE gets what the
robot perceived and what it was told to do. A camera of another size is tried first: that client must not start.
"""

import hashlib
import json
import pickle
import sys
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The registry's torchvision does not load beside PyTorch for processors; the client imports it and never uses it.
_LIBRARY = torch.library.Library("torchvision", "DEF")
_LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import grpc  # noqa: E402
from lerobot.async_inference.configs import RobotClientConfig  # noqa: E402
from lerobot.async_inference.helpers import (  # noqa: E402
    RemotePolicyConfig,
    TimedObservation,
    map_robot_keys_to_lerobot_features,
)
from lerobot.async_inference.robot_client import RobotClient  # noqa: E402
from lerobot.robots import Robot, RobotConfig  # noqa: E402
from lerobot.transport import services_pb2, services_pb2_grpc  # noqa: E402
from lerobot.transport.utils import grpc_channel_options, send_bytes_in_chunks  # noqa: E402

_END_S = 120.0


@RobotConfig.register_subclass("rover")
@dataclass(kw_only=True)
class RoverConfig(RobotConfig):  # type: ignore[misc]
    """Of a rover whose front camera has so many rows."""

    height: int = 64


class Rover(Robot):  # type: ignore[misc]
    """Two motors and two cameras that exist as numbers."""

    config_class = RoverConfig
    name = "rover"

    def __init__(self, config: RoverConfig) -> None:
        super().__init__(config)
        self._height = config.height
        self.perceived: list[list[float]] = []
        self.told: list[list[float]] = []

    @cached_property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "ego": (self._height, 64, 3), "rear": (48, 64, 3)}

    @cached_property
    def action_features(self) -> dict[str, Any]:
        return {"speed": float, "yaw_rate": float}

    is_connected = is_calibrated = True

    def connect(self, calibrate: bool = True) -> None: ...

    def disconnect(self) -> None: ...

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        seen = observation(len(self.perceived))
        self.perceived.append([float(np.float32(seen[name])) for name in self.action_features])
        return seen

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.told.append([action["speed"], action["yaw_rate"]])
        return action


def observation(number: int) -> dict[str, Any]:
    """What a rover perceives, different for every number."""
    random = np.random.default_rng(number)
    return {
        "speed": random.uniform(-1, 1),
        "yaw_rate": random.uniform(-1, 1),
        "ego": random.integers(0, 256, (64, 64, 3), dtype=np.uint8),
        "rear": random.integers(0, 256, (48, 64, 3), dtype=np.uint8),
    }


def digest(*arrays: Any) -> str:
    """SHA-256 over the arrays' bytes."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def call(port: int, alias: str, count: int, home: Path) -> object:
    """Ask one after another over one channel."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", grpc_channel_options())
    stub = services_pb2_grpc.AsyncInferenceStub(channel)
    features = map_robot_keys_to_lerobot_features(Rover(RoverConfig(id="rover", calibration_dir=home)))
    stub.Ready(services_pb2.Empty())
    setup = RemotePolicyConfig("act", alias, features, 50)
    stub.SendPolicyInstructions(services_pb2.PolicySetup(data=pickle.dumps(setup)))
    rows = []
    for number in range(count):
        sent = {**observation(number), "task": f"go to ball {number}"}
        began = time.perf_counter()
        data = pickle.dumps(TimedObservation(time.time(), number, sent, True))
        stub.SendObservations(send_bytes_in_chunks(data, services_pb2.Observation))
        got = pickle.loads(stub.GetActions(services_pb2.Empty()).data)
        spent = time.perf_counter() - began
        actions = torch.stack([one.get_action() for one in got]).numpy()
        state = np.array([sent["speed"], sent["yaw_rate"]], np.float32)
        steps = [one.get_timestep() for one in got]
        assert steps == list(range(number, number + len(got))), steps
        rows.append(
            [digest(sent["ego"], sent["rear"], state), digest(actions), str(actions.dtype), actions.shape, spent]
        )
    return rows


def drive(port: int, alias: str, count: int, home: Path) -> object:
    """Run the whole client until its robot acted so many times."""

    def client(height: int) -> RobotClient:
        return RobotClient(
            RobotClientConfig(
                policy_type="act",
                pretrained_name_or_path=alias,
                robot=RoverConfig(id="rover", calibration_dir=home, height=height),
                actions_per_chunk=8,
                task="go to the ball",
                server_address=f"127.0.0.1:{port}",
                fps=50,
                aggregate_fn_name="latest_only",
            )
        )

    wrong = client(32)
    started = wrong.start()
    wrong.stop()
    right = client(64)
    assert right.start()
    threads = [
        threading.Thread(target=right.receive_actions, daemon=True),
        threading.Thread(target=right.control_loop, args=("go to the ball",), daemon=True),
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _END_S
    while len(right.robot.told) < count and time.monotonic() < until:
        time.sleep(0.05)
    right.stop()
    for thread in threads:
        thread.join(timeout=10)
    return {"wrong one started": started, "perceived": right.robot.perceived, "told": right.robot.told}


def main() -> None:
    """As the command line says."""
    what, port, alias, count, file = sys.argv[1:]
    found = {"calls": call, "robot": drive}[what](int(port), alias, int(count), Path(file).parent)
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
