"""A real gateway in a thread of this process, with a small controller as its policy and a list as its directory."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from serving.gateway import Gateway, serve
from serving.leases import Leases
from serving.limits import Limits
from serving.metrics import Metrics
from serving.routes import Access, AccessLog, Act, RobotRecord, Route, ShadowEntry, ShadowJournal
from serving.routes import Directory as DirectoryOf
from serving.slots import Slots
from serving.tls import Tls
from serving.waiting import Standing, nothing_to_tell
from tests.unit.data.bundles import ROVER
from volano.embodiment.contract import Embodiment
from volano.errors import Code, LedgerError, ServeError

KEY = "key-of-rover-01"
_END_S = 30.0
GENEROUS = Limits(answers_per_s=1e5, episodes_per_minute=1e6, failures_per_s=1e4, sockets_per_address=1000)
"""Tests ask as fast as they can, all from one address."""
ACTING, SHADOW, SLOW, BROKEN, WILD = (digit * 64 for digit in "abcde")


def hashed(key: str) -> str:
    """How a directory knows a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def steer(state: NDArray[np.float32], brightness: float, gain: float, robot: Embodiment = ROVER) -> NDArray[np.float32]:
    """A proportional controller: slow down, and turn towards the light; (horizon, 2)."""
    target = np.array([0.5, brightness / 255 - 0.5])
    rows = [gain * 0.8**row * (target - state) for row in range(robot.horizon)]
    return np.clip(np.array(rows), [-1, -2], [1, 2]).astype(np.float32)


@dataclass(kw_only=True)
class Controllers:
    """The policies: two gains, one that thinks for `slow_s`, one that fails, one that answers NaN."""

    slow_s: float = 2.0
    seen: list[Mapping[str, Any]] = field(default_factory=list)

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del within_s
        self.seen.append(observation)
        if policy == SLOW:
            await asyncio.sleep(self.slow_s)
        if policy == BROKEN:
            raise RuntimeError("secret path /etc/shadow in a traceback")
        brightness = float(observation["observation/image/ego"].mean())
        chunk = steer(observation["observation/state"], brightness, 0.5 if policy == SHADOW else 1.0)
        return chunk * np.float32("nan") if policy == WILD else chunk


@dataclass(kw_only=True)
class Directory:
    """Robots by the hash of their key, and the policy by task."""

    robots: dict[str, RobotRecord] = field(
        default_factory=lambda: {hashed(KEY): RobotRecord(id="rover-01", embodiment=ROVER)}
    )
    policies: dict[str, str] = field(default_factory=dict)
    shadow: str | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def robot(self, key_sha256: str) -> RobotRecord | None:
        return self.robots.get(key_sha256)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        self.asked.append((robot_id, task, episode))
        if task == "nobody":
            raise ServeError(Code.SERVE_UNAVAILABLE, "no policy is released for this task", "release one")
        if task == "locked":
            raise LedgerError(Code.LEDGER_UNAVAILABLE, "/home/secret/ledger.db is locked", "wait")
        return Route(policy=self.policies.get(task, ACTING), shadow=self.shadow, rollout="rollout-1", arm="canary")


@dataclass(kw_only=True)
class Running:
    """A gateway that listens, and everything around it."""

    directory: Directory
    act: Controllers
    access: list[Access] = field(default_factory=list)
    shadows: list[ShadowEntry] = field(default_factory=list)
    port: int = 0
    ports: Mapping[str, int] = field(default_factory=dict)
    """Further ports, by dialect."""
    loop: asyncio.AbstractEventLoop = field(default_factory=uvloop.new_event_loop)
    gateway: Gateway | None = None
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def counted(self, name: str) -> float:
        """A metric, by its name with its labels in the order of their names; 0 while there is none."""
        lines = self.metrics.text(time.time(), ready=True).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def stop(self) -> None:
        """Stop gracefully; more than once is harmless."""
        if self.gateway is not None:
            asyncio.run_coroutine_threadsafe(self.gateway.stop(), self.loop).result(_END_S)
            self.gateway = None


@contextmanager
def running_gateway(
    directory: Directory | None = None,
    act: Controllers | None = None,
    *,
    timeout_s: float = 1.0,
    standing: Standing = nothing_to_tell,
    port: int = 0,
    more: Mapping[str, int] = MappingProxyType({}),
    leases: Leases | None = None,
    tls: Tls | None = None,
    limits: Limits = GENEROUS,
) -> Iterator[Running]:
    """Start a gateway, stop it gracefully at the end."""
    running = Running(directory=directory or Directory(), act=act or Controllers())
    with listening(
        running.loop,
        running.directory,
        running.act,
        access=running.access.append,
        shadow=running.shadows.append,
        timeout_s=timeout_s,
        standing=standing,
        port=port,
        more=more,
        leases=leases,
        tls=tls,
        limits=limits,
        metrics=running.metrics,
    ) as gateway:
        running.gateway, running.port, running.ports = gateway, gateway.port, gateway.ports
        yield running
        running.stop()


@contextmanager
def listening(
    loop: asyncio.AbstractEventLoop,
    directory: DirectoryOf,
    act: Act,
    *,
    access: AccessLog,
    shadow: ShadowJournal,
    timeout_s: float,
    standing: Standing = nothing_to_tell,
    port: int = 0,
    more: Mapping[str, int] = MappingProxyType({}),
    leases: Leases | None = None,
    slots: Slots | None = None,
    tls: Tls | None = None,
    limits: Limits = GENEROUS,
    metrics: Metrics | None = None,
) -> Iterator[Gateway]:
    """A gateway in a loop that runs in a thread of its own until the block ends."""
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    gateway: Gateway | None = None
    try:
        start = serve(
            "127.0.0.1",
            port,
            directory=directory,
            act=act,
            access=access,
            shadow=shadow,
            timeout_s=timeout_s,
            standing=standing,
            more=more,
            leases=leases,
            slots=slots,
            tls=tls,
            limits=limits,
            metrics=metrics,
        )
        gateway = asyncio.run_coroutine_threadsafe(start, loop).result(_END_S)
        yield gateway
    finally:
        try:
            if gateway is not None:
                asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(_END_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=_END_S)
        assert not thread.is_alive(), "the gateway's loop does not end"
        loop.close()


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether something comes true in time."""
    until = time.monotonic() + within_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()
