"""Replicas and gateways as processes that may be killed: the real door, pool and gateway, a policy one can tell apart.

The policy's chunk says which policy it was and repeats the robot's state, so that an answer to another's question, of
another policy or of another tick is seen. It looks at every pixel when it computes, late: one of another picture than
the state's shows in the answer.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.door import Address, Door
from serving.gateway import serve
from serving.pool import Pool
from serving.routes import RobotRecord, Route
from tests.integration.gateways import GENEROUS, hashed
from tests.unit.data.bundles import ROVER
from volano.cluster import ROOT
from volano.inference.session import STATE, image_key

ROBOTS = 8
POLICIES = tuple(digit * 64 for digit in "ab")
_READY_S = 60.0


def key(robot: int) -> str:
    return f"key-of-rover-{robot:02d}"


def name(robot: int) -> str:
    return f"rover-{robot:02d}"


def chunk_of(policy: str, state: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a policy answers to a state, within the rover's limits: (horizon, 2)."""
    gain = np.float32(0.25 + 0.5 * POLICIES.index(policy))
    return np.tile(gain * state, (ROVER.horizon, 1)).astype(np.float32)


def picture_of(state: NDArray[np.float32]) -> dict[str, NDArray[np.uint8]]:
    """What a robot in this state sees, by camera."""
    grey = int.from_bytes(state.tobytes()) % 251
    return {one.name: np.full((one.height, one.width, 3), grey, np.uint8) for one in ROVER.cameras}


class Fleet:
    """A directory of some rovers; the policy of an episode is what `current` was when it began."""

    def __init__(self) -> None:
        self.current = POLICIES[0]
        self._robots = {hashed(key(number)): RobotRecord(id=name(number), embodiment=ROVER) for number in range(ROBOTS)}
        self._pinned: dict[tuple[str, str], str] = {}

    def robot(self, key_sha256: str) -> RobotRecord | None:
        return self._robots.get(key_sha256)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        del task
        policy = self._pinned.setdefault((robot_id, episode), self.current)
        return Route(policy=policy, shadow=None, rollout="", arm="")


@dataclass(kw_only=True)
class Processes:
    """Replicas and gateways of a test, by name."""

    folder: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, called: str, *arguments: str) -> None:
        """Start one; `told` waits until it is ready."""
        (self.folder / called).unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.integration.serving_processes", str(self.folder / called), *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
        self.running[called] = subprocess.Popen(command, env=environment, cwd=ROOT)

    def told(self, called: str) -> str:
        """What a process says once it is ready."""
        until = time.monotonic() + _READY_S
        while not (self.folder / called).exists():
            assert self.running[called].poll() is None, f"{called} ended"
            assert time.monotonic() < until, f"{called} does not get ready"
            time.sleep(0.01)
        return (self.folder / called).read_text()

    def address(self, called: str) -> Address:
        """Where a replica's door is."""
        path, host, port, token = self.told(called).split("\n")
        return Address(path=path, host=host, port=int(port), token=token)

    def kill(self, called: str) -> None:
        """End one as a power cut would."""
        process = self.running.pop(called)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        """End all."""
        for called in list(self.running):
            self.kill(called)


def _tell(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def _replica(path: Path, policy: str, seconds: str) -> None:
    def compute(work: Sequence[Mapping[str, Any]]) -> list[NDArray[np.float32]]:
        time.sleep(float(seconds))
        return [chunk_of(policy, seen[STATE]) + np.float32(not right(seen)) for seen in work]

    def right(seen: Mapping[str, Any]) -> bool:
        return all(np.array_equal(seen[image_key(name)], one) for name, one in picture_of(seen[STATE]).items())

    def read(message: Mapping[str, Any]) -> Mapping[str, Any]:
        return message

    address = Door(policy, read, compute, host="127.0.0.1", most=8).address
    _tell(path, "\n".join((address.path, address.host, str(address.port), address.token)))
    signal.pause()


async def _gateway(path: Path, port: str, replica: str) -> None:
    where, host, door_port, token = Path(replica).read_text().split("\n")
    pool = Pool()
    pool.attach(asyncio.get_running_loop())
    door = Address(path=where, host=host, port=int(door_port), token=token)
    await asyncio.to_thread(pool.join, POLICIES[0], [door])
    gateway = await serve(
        "127.0.0.1",
        int(port),
        directory=Fleet(),
        act=pool,
        access=lambda _: None,
        shadow=lambda _: None,
        limits=GENEROUS,
        timeout_s=1.0,
        slots=pool.slots,
    )
    _tell(path, str(gateway.port))
    await asyncio.Event().wait()


def main() -> None:
    """Be a replica (policy, seconds of a batch) or a gateway (port, file of its replica)."""
    path, role, first, second = Path(sys.argv[1]), *sys.argv[2:]
    if role == "replica":
        _replica(path, first, second)
    else:
        asyncio.run(_gateway(path, first, second))


if __name__ == "__main__":
    main()
