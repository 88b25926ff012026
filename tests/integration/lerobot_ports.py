"""A real listener for LeRobot beside a real gateway, and a client that speaks its bytes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from serving.grpc_listener import listen_lerobot
from serving.limits import Limits
from serving.routes import RobotRecord
from serving.tls import Tls
from tests.integration.gateways import GENEROUS, Controllers, Directory, Running, hashed, running_gateway
from tests.unit.data.bundles import ROVER
from tests.unit.inference.protocols.lerobot_frames import (
    TimedAction,
    TimedObservation,
    alias,
    features,
    message,
    pickled,
    setup,
    unpickled,
)
from volano.embodiment.contract import Embodiment
from volano.inference.protocols.protobuf import read_data

_END_S = 30.0
_SERVICE = "/transport.AsyncInference/"


def key_of(robot: str) -> str:
    """A robot's key."""
    return f"key-of-{robot}"


def fleet(*robots: str, embodiment: Embodiment = ROVER, **policies: str) -> Directory:
    """A directory of these robots, all of one embodiment."""
    records = {hashed(key_of(robot)): RobotRecord(id=robot, embodiment=embodiment) for robot in robots}
    return Directory(robots=records, policies=policies)


@contextmanager
def running_lerobot(
    directory: Directory,
    act: Controllers | None = None,
    *,
    timeout_s: float = 1.0,
    tls: Tls | None = None,
    limits: Limits = GENEROUS,
) -> Iterator[tuple[Running, int]]:
    """A gateway, and the port on which it speaks LeRobot."""
    with running_gateway(directory, act, timeout_s=timeout_s, tls=tls, limits=limits) as running:
        assert running.gateway is not None
        start = listen_lerobot("127.0.0.1", 0, running.gateway.entrance)
        listener = asyncio.run_coroutine_threadsafe(start, running.loop).result(_END_S)
        try:
            yield running, listener.port
        finally:
            asyncio.run_coroutine_threadsafe(listener.stop(), running.loop).result(_END_S)


@dataclass(kw_only=True)
class Client:
    """One robot's connection, in the words of LeRobot's service."""

    port: int
    robot: str = "rover-01"
    shared: bool = False
    """Take the connection that another such client of this process has."""
    channel: Any = field(init=False)

    def __post_init__(self) -> None:
        options = [("grpc.use_local_subchannel_pool", int(not self.shared)), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *failure: object) -> None:
        self.channel.close()

    def ready(self) -> bytes:
        """Ready."""
        answer: bytes = self.channel.unary_unary(_SERVICE + "Ready")(b"", timeout=_END_S)
        return answer

    def instruct(self, data: bytes | None = None, **changes: Any) -> bytes:
        """SendPolicyInstructions, of this robot unless told otherwise."""
        usual = {
            "pretrained_name_or_path": alias(self.robot, key_of(self.robot)),
            "lerobot_features": features(ROVER),
        }
        sent = pickled(setup(**usual | changes)) if data is None else data
        answer: bytes = self.channel.unary_unary(_SERVICE + "SendPolicyInstructions")(message(sent), timeout=_END_S)
        return answer

    def start(self) -> "Client":
        """What a client says before it moves."""
        assert (self.ready(), self.instruct()) == (b"", b"")
        return self

    def send(self, *parts: bytes) -> bytes:
        """SendObservations, of messages."""
        answer: bytes = self.channel.stream_unary(_SERVICE + "SendObservations")(iter(parts), timeout=_END_S)
        return answer

    def observe(self, observation: TimedObservation) -> bytes:
        """SendObservations, in one part."""
        return self.send(message(pickled(observation), 3))

    def asking(self) -> Any:
        """GetActions under way: a future of bytes."""
        return self.channel.unary_unary(_SERVICE + "GetActions").future(b"", timeout=_END_S)

    def actions(self) -> list[TimedAction]:
        """GetActions; empty when there are none."""
        data = read_data(self.asking().result())
        return unpickled(data) if data else []


def rover(
    number: int, *, state: tuple[float, float] = (0.0, 0.0), task: str = "go", **changes: Any
) -> TimedObservation:
    """What a rover perceives."""
    random = np.random.default_rng(number)
    sent: dict[str, Any] = {"speed": state[0], "yaw_rate": state[1], "task": task}
    for name, height in (("ego", 64), ("rear", 48)):
        sent[name] = random.integers(0, 256, (height, 64, 3), dtype=np.uint8)
    fields: dict[str, Any] = {"timestamp": 1.7e9, "timestep": number, "observation": sent, "must_go": True, **changes}
    return TimedObservation(**fields)
