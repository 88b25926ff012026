"""What the benchmarks of serving share: a robot of three cameras, a policy that only waits, and who serves it.

`ours` is a gateway process before a replica process with a door of its own: what `python -m serving` runs, without the
cluster that starts it, which carries no observation. `twin` is a stand-in for openpi's reference server: one asyncio
process, the same wire, the policy asked in its loop. Ray Serve's own WebSockets are served by a cluster of their own.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.sync.client import ClientConnection, connect

from serving.door import Address, Door
from serving.gateway import serve
from serving.limits import Limits
from serving.pool import Pool
from serving.routes import RobotRecord, Route
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.embodiment.shipped import SAWYER
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.session import PROMPT, STATE, image_key

POLICY = "a" * 64
MOST = 8
HORIZON, CHANNELS = 50, 32
_READY_S = 60.0
_ROLES = {"ours": ("replica", "gateway"), "nano": ("nano_replica", "nano_gateway")}
"""Processes of a server, the first of which the others need."""
ROBOT = Embodiment(
    tag="bench",
    family="manipulation",
    body="single arm",
    cameras=tuple(Camera(name=name, height=224, width=224) for name in ("left", "right", "wrist")),
    state=tuple(Channel(name=f"joint.{number}", unit="rad", low=-4, high=4) for number in range(CHANNELS)),
    action=tuple(Channel(name=f"joint.{number}", unit="rad", low=-4, high=4) for number in range(CHANNELS)),
    control_mode="joint position",
    rate_hz=50.0,
    horizon=HORIZON,
    execute=25,
    hold=(0.0,) * CHANNELS,
)
CHUNK = np.zeros((HORIZON, CHANNELS), np.float32)


def observation() -> dict[str, Any]:
    """452 kB: three pictures and a state, as an openpi client sends them."""
    random = np.random.default_rng(0)
    pictures = {image_key(one.name): random.integers(0, 256, (224, 224, 3)).astype(np.uint8) for one in ROBOT.cameras}
    return {**pictures, STATE: np.zeros(CHANNELS, np.float32), PROMPT: "put the red block on the plate"}


def talk(port: int, key: str, path: str = "") -> ClientConnection:
    """A robot's connection, its greeting read."""
    url = f"ws://127.0.0.1:{port}{path}"
    headers = {"Authorization": f"Api-Key {key}"}
    connection = connect(url, additional_headers=headers, compression=None, max_size=None, proxy=None)
    connection.recv(timeout=30)
    return connection


def ask(connection: ClientConnection, message: Mapping[str, Any]) -> NDArray[np.float32]:
    """One call as a client makes it: pack, send, receive, unpack."""
    connection.send(pack(message))
    actions: NDArray[np.float32] = unpack(connection.recv(timeout=30, decode=False))["actions"]
    return actions


@contextmanager
def served(kind: str, policy_s: float) -> Iterator[int]:
    """The port of a server of this kind, whose policy takes so long for a batch of up to eight; all its processes end
    with the block."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        roles = _ROLES.get(kind, (kind,))
        processes = []
        try:
            for role in roles:
                command = [sys.executable, "-m", "benchmarks.served", role, str(folder), str(policy_s)]
                processes.append(subprocess.Popen(command))
                _await(folder / role, processes[-1])
            yield int((folder / roles[-1]).read_text())
        finally:
            for process in processes:
                process.kill()
                process.wait()


def listener(port: int) -> int:
    """The process that listens on a port of this machine."""
    sockets = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    [found] = {one.pid for one in sockets if one.laddr and one.laddr.port == port}
    return int(found or 0)


def _await(told: Path, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _READY_S
    while not told.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no {told.name}")
        time.sleep(0.02)


class _Anyone:
    """A directory: every key is a robot's name, and all have one body and one policy."""

    def __init__(self, robot: Embodiment) -> None:
        self._robot = robot

    def robot(self, key_sha256: str) -> RobotRecord:
        return RobotRecord(id=f"robot-{key_sha256[:12]}", embodiment=self._robot)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        del robot_id, task, episode
        return Route(policy=POLICY, shadow=None, rollout="", arm="")


def _replica(folder: Path, policy_s: float) -> None:
    def compute(work: Sequence[Mapping[str, Any]]) -> list[NDArray[np.float32]]:
        if policy_s:
            time.sleep(policy_s)
        return [CHUNK] * len(work)

    open_door(Door(POLICY, lambda message: message, compute, host="127.0.0.1", most=MOST), folder / "replica")


def open_door(door: Door[Any], told: Path) -> None:
    address = door.address
    _tell(told, "\n".join((address.path, address.host, str(address.port), address.token)))
    while True:
        time.sleep(3600)


async def _gateway(told: Path, replica: Path, robot: Embodiment) -> None:
    path, host, port, token = replica.read_text().split("\n")
    pool = Pool()
    pool.attach(asyncio.get_running_loop())
    await asyncio.to_thread(pool.join, POLICY, [Address(path=path, host=host, port=int(port), token=token)])
    gateway = await serve(
        "127.0.0.1",
        0,
        directory=_Anyone(robot),
        act=pool,
        access=lambda _: None,
        shadow=lambda _: None,
        timeout_s=30.0,
        slots=pool.slots,
        limits=Limits(answers_per_s=1e6, episodes_per_minute=1e6, sockets_per_address=1000),
    )
    _tell(told, str(gateway.port))
    await asyncio.Event().wait()


async def _twin(folder: Path, policy_s: float) -> None:
    """openpi's reference server in its own manner: the policy runs in the loop, and its client reads no checks."""

    async def converse(connection: ServerConnection) -> None:
        await connection.send(pack({}))
        async for frame in connection:
            unpack(frame if isinstance(frame, bytes) else frame.encode())
            if policy_s:
                time.sleep(policy_s)
            await connection.send(pack({"actions": CHUNK, "server_timing": {"infer_ms": policy_s * 1e3}}))

    async with serve_websockets(converse, "127.0.0.1", 0, compression=None, max_size=None) as server:
        _tell(folder / "twin", str(next(iter(server.sockets)).getsockname()[1]))
        await asyncio.Event().wait()


def _tell(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def main() -> None:
    """One process of a server: role, folder, seconds of a batch."""
    role, folder, policy_s = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    if role == "replica":
        _replica(folder, policy_s)
    elif role == "nano_replica":
        from benchmarks.served_nano import replica  # it takes seconds to load

        replica(folder)
    elif role == "twin":
        asyncio.run(_twin(folder, policy_s))
    else:
        robot = SAWYER if role == "nano_gateway" else ROBOT
        uvloop.run(_gateway(folder / role, folder / role.replace("gateway", "replica"), robot))


if __name__ == "__main__":
    main()
