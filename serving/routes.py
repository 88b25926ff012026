"""What a gateway needs from the rest of the house: who a robot is, which policy acts for it, and the policy itself.

The gateway relies on these few doors only, so that it runs the same over Ray replicas and a ledger as over functions
in its own process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment


@dataclass(frozen=True, kw_only=True)
class RobotRecord:
    """An enrolled robot."""

    id: str
    embodiment: Embodiment


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
        """The policy of an episode; asked once per episode. Raises ServeError when none may act."""
        ...


class Act(Protocol):
    """The policies."""

    async def __call__(self, policy: str, observation: Mapping[str, Any]) -> NDArray[np.floating]:
        """A chunk (horizon, channels) in physical units for a checked observation: the wire's keys, with the map
        `volano` always present (robot, embodiment fingerprint, task, episode, tick). Raises ServeError when the
        policy cannot answer now. May be cancelled."""
        ...


@dataclass(frozen=True, kw_only=True)
class Access:
    """One request, for the log."""

    robot: str
    episode: str
    tick: int
    request: str
    policy: str
    rollout: str
    arm: str
    latency_s: float
    """From the whole frame received to the answer handed to the socket."""
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
    problem: str
    """Code of the shadow's failure; empty when it answered."""


AccessLog = Callable[[Access], None]
ShadowJournal = Callable[[ShadowEntry], None]
