"""GR00T's ports beside a running gateway, and the robot whose clients ask there: an arm with groups of channels."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.limits import Limits
from serving.listeners import LISTENERS, Listener
from serving.routes import RobotRecord
from serving.tls import Tls
from tests.integration.gateways import GENEROUS, KEY, Controllers, Directory, Running, hashed, running_gateway
from tests.unit.inference.protocols.gr00t_frames import ARM

_END_S = 30.0
ARM_KEY = "key-of-arm-01"


@dataclass(kw_only=True)
class Replies(Controllers):
    """A policy that answers the arm by chance, and keeps what it answered."""

    answered: list[NDArray[np.float32]] = field(default_factory=list)

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        if observation["volano"]["embodiment"] != ARM.fingerprint:
            return await super().__call__(policy, observation, within_s)
        random = np.random.default_rng(len(self.seen))
        self.seen.append(observation)
        self.answered.append(random.uniform(-1, 1, (ARM.horizon, len(ARM.action))).astype(np.float32))
        return self.answered[-1]


@contextmanager
def running_ports(
    *names: str,
    directory: Directory | None = None,
    act: Controllers | None = None,
    timeout_s: float = 5.0,
    tls: Tls | None = None,
    limits: Limits = GENEROUS,
) -> Iterator[tuple[Running, dict[str, int]]]:
    """A gateway with these listeners, and each one's port; they stop before it does."""
    both = directory or Directory()
    both.robots[hashed(ARM_KEY)] = RobotRecord(id="arm-01", embodiment=ARM)
    with running_gateway(both, act or Replies(), timeout_s=timeout_s, tls=tls, limits=limits) as running:
        assert running.gateway is not None
        entrance = running.gateway.entrance

        async def open_all() -> dict[str, Listener]:
            return {name: await LISTENERS[name]("127.0.0.1", 0, entrance) for name in names}

        listeners = asyncio.run_coroutine_threadsafe(open_all(), running.loop).result(_END_S)
        try:
            yield running, {name: listener.port for name, listener in listeners.items()}
        finally:
            for listener in listeners.values():
                asyncio.run_coroutine_threadsafe(listener.stop(), running.loop).result(_END_S)


def second_robot(directory: Directory, key: str) -> None:
    """One more arm."""
    directory.robots[hashed(key)] = RobotRecord(id=f"arm-of-{key}", embodiment=replace(ARM, tag="other_arm"))


__all__ = ["ARM", "ARM_KEY", "KEY", "Replies", "running_ports", "second_robot"]
