"""What a gateway needs from the rest of the house: who a robot is, which policy acts for it, and the policy itself.

The gateway relies on these few doors only, so that it runs the same over Ray replicas and a ledger as over functions
in its own process.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ServeError


@dataclass(frozen=True, kw_only=True)
class RobotRecord:
    """An enrolled robot."""

    id: str
    embodiment: Embodiment
    site: str = ""
    """Where it stands, as it was enrolled."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which policy acts in one episode, pinned for the whole of it."""

    policy: str
    """Digest."""
    shadow: str | None
    """Digest of a policy that sees the same observations and never acts."""
    rollout: str
    arm: str


class Directory(Protocol):
    """Who is who. Called from worker threads, several at a time; may read a database."""

    def robot(self, key_sha256: str) -> RobotRecord | None:
        """The robot whose key has this SHA-256; None when there is none or the key was revoked."""
        ...

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        """The policy of an episode; asked when it begins, and now and then while it goes on: it is always the same.
        Raises ServeError when none may act (any more)."""
        ...


class Act(Protocol):
    """The policies."""

    def __call__(
        self, policy: str, observation: Mapping[str, Any], within_s: float
    ) -> "asyncio.Future[NDArray[np.floating]] | Coroutine[Any, Any, NDArray[np.floating]]":
        """A chunk (horizon, channels) in physical units for a checked observation: the wire's keys, with the map
        `volano` always present (robot, embodiment fingerprint, task, episode, tick; and `prefix` where the robot sent
        one). Nobody waits for it longer than `within_s`. Raises ServeError when the policy cannot answer now. May be
        cancelled."""
        ...


@dataclass(frozen=True, kw_only=True)
class Access:
    """One request, for the log."""

    at: float
    """Unix time in seconds at which it was answered."""
    protocol: str
    robot: str
    episode: str
    tick: int
    request: str
    policy: str
    rollout: str
    arm: str
    latency_s: float
    """From the whole frame received to the actions there, which are then written in the protocol's words. What makes it
    up beside waiting: """
    read_s: float
    """decoding and checking the frame,"""
    route_s: float
    """finding the episode's policy,"""
    policy_s: float
    """and asking it. 0 of what was not come to."""
    outcome: str
    """`answered`, or the code of the refusal."""


@dataclass(frozen=True, kw_only=True)
class ShadowEntry:
    """What a shadow policy would have done, against what the acting policy did."""

    robot: str
    episode: str
    tick: int
    request: str
    policy: str
    shadow: str
    rollout: str
    distance: float | None
    """Root mean square difference in shares of the channels' ranges; None when the shadow gave no valid answer."""
    clamped: float | None
    """Share of its values that stand at a limit of the contract; None likewise."""
    latency_s: float
    """From the question to its answer, or to the end of patience."""
    problem: str
    """Code of the shadow's failure; empty when it answered."""


AccessLog = Callable[[Access], None]
ShadowJournal = Callable[[ShadowEntry], None]


def withdrawn(policy: str) -> ServeError:
    """Of an episode whose policy was rolled back: it ends without another one."""
    return ServeError(
        Code.ROLLOUT_WITHDRAWN,
        f"policy {policy[:12]} was rolled back",
        "begin a new episode: it gets the policy in place",
    )
