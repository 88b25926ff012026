"""Robots under a failing platform: replicas and gateways killed while they stream, policies swapped under them.

No answer may belong to another question, another policy or another robot; who gets none in time falls back within its
deadline; and everybody is answered again.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from serving.pool import Pool
from tests.integration.gateways import listening
from tests.integration.serving_processes import POLICIES, ROBOTS, Fleet, Processes, chunk_of, key, name, picture_of
from tests.unit.data.bundles import ROVER
from volano.inference.client import RobotClient
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.session import image_key

pytestmark = pytest.mark.slow
_TICK_S = 0.5
"""A robot's deadline."""
_KILLS = 20
_RECOVERY_S = 5.0
_LATE_S = 1.0
"""By which a robot's own thread may notice its deadline late, beside as many others as there are robots."""


@dataclass(frozen=True)
class Seen:
    """What a robot perceives."""

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


@dataclass(kw_only=True)
class Robot:
    """A robot that asks all the time, in a thread, and notes what happened to it."""

    number: int
    url: str
    ticks_of_an_episode: int = 1 << 30
    answered_at: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    policies: list[set[str]] = field(default_factory=lambda: [set()])
    """Of each episode."""
    problems: list[str] = field(default_factory=list)

    def drive(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        client = RobotClient(self.url, key(self.number), ROVER, name(self.number), timeout_s=_TICK_S)
        random = np.random.default_rng(self.number)
        tick, episode = 0, 0
        try:
            while not stop.is_set():
                if tick % self.ticks_of_an_episode == 0:
                    episode += 1
                    client.start_episode(f"episode-{episode}", "go")
                    self.policies.append(set())
                state = random.uniform(-1, 1, 2).astype(np.float32)
                began = time.monotonic()
                answer = client.act(Seen(picture_of(state), state), "go", tick)
                self.waits.append(time.monotonic() - began)
                tick += 1
                if answer is None:
                    self.problems.append(client.problem)
                    time.sleep(0.02)
                    continue
                self.answered_at.append(time.monotonic())
                self.policies[-1].add(answer.policy)
                if not np.array_equal(answer.chunk, chunk_of(answer.policy, state)):
                    self.wrong.append(f"tick {tick}: {answer.chunk[0]} for {state} of {answer.policy[0]}")
        finally:
            client.close()


@contextmanager
def streaming(url: str, **more: Any) -> Iterator[list[Robot]]:
    """A fleet that asks until the block ends."""
    robots = [Robot(number=number, url=url, **more) for number in range(ROBOTS)]
    stop = threading.Event()
    threads = [threading.Thread(target=robot.drive, args=(stop,)) for robot in robots]
    for thread in threads:
        thread.start()
    try:
        yield robots
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)


def answered_since(robots: list[Robot], since: float) -> bool:
    return all(robot.answered_at and robot.answered_at[-1] > since for robot in robots)


def await_answers(robots: list[Robot], since: float, within_s: float = _RECOVERY_S) -> None:
    """Everybody is answered again, in time."""
    until = time.monotonic() + within_s
    while not answered_since(robots, since):
        assert time.monotonic() < until, [robot.problems[-1:] for robot in robots]
        time.sleep(0.01)


def judge(robots: list[Robot]) -> None:
    """Nothing wrong was believed, and nobody waited longer than its deadline and `_LATE_S`."""
    assert [robot.wrong for robot in robots] == [[]] * ROBOTS
    assert max(max(robot.waits) for robot in robots) < _TICK_S + _LATE_S


def blank() -> dict[str, NDArray[np.uint8]]:
    """Dark pictures under the wire's keys."""
    return {image_key(one.name): np.zeros((one.height, one.width, 3), np.uint8) for one in ROVER.cameras}


@contextmanager
def gateway_of(fleet: Fleet, pool: Pool) -> Iterator[int]:
    """The port of a gateway of this process."""
    loop = asyncio.new_event_loop()
    pool.attach(loop)
    with listening(
        loop, fleet, pool, access=lambda _: None, shadow=lambda _: None, timeout_s=1.0, slots=pool.slots
    ) as gateway:
        yield gateway.port
        loop.call_soon_threadsafe(pool.close)


def sockets(port: int) -> set[int]:
    """The robots' own ends of their connections."""
    found = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in found if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(folder=tmp_path)
    yield found
    found.end()


def test_replicas_are_killed_under_load(processes: Processes) -> None:
    pool = Pool()
    with gateway_of(Fleet(), pool) as port:
        for called in ("replica-0", "replica-1"):
            processes.start(called, "replica", POLICIES[0], "0.01")
        pool.join(POLICIES[0], [processes.address(called) for called in ("replica-0", "replica-1")])
        with streaming(f"ws://127.0.0.1:{port}") as robots:
            await_answers(robots, time.monotonic())
            for number in range(_KILLS):
                killed = f"replica-{number % 2}"
                processes.kill(killed)
                await_answers(robots, time.monotonic())
                processes.start(killed, "replica", POLICIES[0], "0.01")
                pool.join(POLICIES[0], [processes.address(killed)])
        judge(robots)
        assert pool.count(POLICIES[0]) == 2
        refused = [problem for robot in robots for problem in robot.problems]
        assert not refused, "the other replica was there: nobody had to fall back"


def test_a_cold_start_drops_nobody(processes: Processes) -> None:
    """A stock client's keep-alive is answered while a policy loads, and its socket gets the first action.

    Three seconds with twenty keep-alives by default; `VOLANO_COLD_S=120` waits as long with a stock client's own.
    """
    cold_s = float(os.environ.get("VOLANO_COLD_S", "3"))
    beat_s = min(20.0, cold_s / 20)
    pool = Pool()
    with (
        gateway_of(Fleet(), pool) as port,
        connect(
            f"ws://127.0.0.1:{port}",
            additional_headers={"Authorization": f"Api-Key {key(0)}"},
            compression=None,
            proxy=None,
            ping_interval=beat_s,
            ping_timeout=max(beat_s, 1.0),
        ) as robot,
    ):
        robot.recv(timeout=10)
        images = {
            f"observation/image/{one.name}": np.zeros((one.height, one.width, 3), np.uint8) for one in ROVER.cameras
        }
        frame = pack({**images, "observation/state": np.zeros(2, np.float32), "prompt": "go"})
        until = time.monotonic() + cold_s
        while time.monotonic() < until:
            robot.send(frame)
            assert str(robot.recv(timeout=10)).startswith("E-SERVE-001  hold")
            time.sleep(beat_s)
        processes.start("replica", "replica", POLICIES[0], "0")
        pool.join(POLICIES[0], [processes.address("replica")])
        robot.send(frame)
        assert unpack(robot.recv(timeout=10, decode=False))["policy"] == POLICIES[0]


def test_gateways_are_killed_under_load(processes: Processes) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.start("replica", "replica", POLICIES[0], "0.01")
    processes.told("replica")
    gateway = ("gateway", "gateway", str(port), str(processes.folder / "replica"))
    processes.start(*gateway)
    processes.told("gateway")
    with streaming(f"ws://127.0.0.1:{port}") as robots:
        await_answers(robots, time.monotonic())
        for _ in range(_KILLS):
            processes.kill("gateway")
            processes.start(*gateway)
            processes.told("gateway")
            await_answers(robots, time.monotonic(), within_s=2 * _RECOVERY_S)
    judge(robots)
    assert all(robot.problems for robot in robots), "every robot had to fall back"


def test_policies_are_swapped_under_streaming_robots(processes: Processes) -> None:
    pool, fleet = Pool(), Fleet()
    with gateway_of(fleet, pool) as port:
        for policy in POLICIES:
            processes.start(policy[0], "replica", policy, "0.005")
        for policy in POLICIES:
            pool.join(policy, [processes.address(policy[0])])
        with streaming(f"ws://127.0.0.1:{port}", ticks_of_an_episode=5) as robots:
            await_answers(robots, time.monotonic())
            connections = sockets(port)
            for number in range(_KILLS):
                fleet.current = POLICIES[(number + 1) % 2]
                for _ in range(2):
                    await_answers(robots, time.monotonic())
                time.sleep(0.1)
            assert len(connections) == 2 * ROBOTS, "one for observations and one for the lease"
            assert sockets(port) == connections, "no socket was dropped"
        judge(robots)
        assert not [problem for robot in robots for problem in robot.problems]
        for robot in robots:
            assert all(len(policies) <= 1 for policies in robot.policies), "one policy for an episode"
            assert set.union(*robot.policies) == set(POLICIES), "every robot saw both"
