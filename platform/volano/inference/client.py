"""What a robot installs: asks a gateway for actions, and says within its deadline when there are none.

Imports NumPy, msgpack and websockets only. Every answer was checked against the robot's own contract and belongs to
the observation it was asked with; whatever goes wrong ends in None, and the robot executes `fallback_chunk`.
"""

import random as random_module
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, WireError
from volano.inference.guard import FloatArray, check_chunk, fallback_chunk, is_stale
from volano.inference.link import Link
from volano.inference.protocols.openpi import pack, unpack
from volano.inference.session import IDENTITY, PROMPT, PROTOCOL, STATE, image_key

__all__ = ["Answer", "Observation", "RobotClient", "fallback_chunk"]
_MAX_TEXT = 200


class Observation(Protocol):
    """What a robot perceives at one tick; any object with these two fields will do."""

    @property
    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """Camera name to RGB of shape (height, width, 3)."""
        ...

    @property
    def state(self) -> FloatArray:
        """Shape (number of state channels,), physical units."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A chunk that may be executed, and where it came from."""

    chunk: FloatArray
    """Shape (horizon, channels), physical units, within the limits."""
    policy: str
    """Digest of the policy that acted."""
    request: str
    """The gateway's identifier of this answer."""
    rollout: str
    arm: str


class RobotClient:
    """One robot's connection to a gateway; use it from one thread."""

    def __init__(
        self,
        url: str,
        key: str,
        embodiment: Embodiment,
        robot: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`url` is `ws://` or `wss://`; `timeout_s` is the longest that `act` may take; `clock` is monotonic seconds,
        `random` within [0, 1) spreads reconnects. Connecting starts now, in the background."""
        self._embodiment = embodiment
        self._robot = robot
        self._timeout_s = timeout_s
        self._clock = clock
        self._attempt = ""
        self._task = ""
        self._problem = ""
        self._link = Link(url, key, self._check_greeting, clock=clock, random=random)

    @property
    def problem(self) -> str:
        """Why the last `act` returned None, with its code; empty when it answered."""
        return self._problem

    def start_episode(self, attempt: str, task: str) -> None:
        """Every `act` from now on belongs to this attempt: a plain name, unique for the robot."""
        self._attempt, self._task = attempt, task

    def act(self, observation: Observation, instruction: str, tick: int) -> Answer | None:
        """The policy's answer to this observation, or None within the deadline: fall back.

        None when the server is late, gone, refuses, has another contract or answered with what the contract does not
        allow; `problem` says which. `tick` counts the episode's control ticks and never goes back.
        """
        asked_at = self._clock()
        try:
            reply = self._link.exchange(pack(self._message(observation, instruction, tick)), self._timeout_s)
            if isinstance(reply, str):
                self._problem = reply[:_MAX_TEXT]
                return None
            answer = self._read(unpack(reply))
            if is_stale(asked_at, self._clock(), self._timeout_s):
                raise WireError(Code.SERVE_TIMEOUT, "the answer came late", "raise the deadline or the serving speed")
        except WireError as error:
            self._problem = f"{error.code} {error.cause}"
            return None
        self._problem = ""
        return answer

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _message(self, observation: Observation, instruction: str, tick: int) -> dict[str, object]:
        return {
            **{image_key(name): image for name, image in observation.images.items()},
            STATE: observation.state,
            PROMPT: instruction,
            IDENTITY: {
                "robot": self._robot,
                "embodiment": self._embodiment.fingerprint,
                "task": self._task,
                "episode": self._attempt,
                "tick": tick,
            },
        }

    def _read(self, reply: dict[str, Any]) -> Answer:
        texts = {name: str(reply.get(name, ""))[:_MAX_TEXT] for name in ("policy", "request", "rollout", "arm")}
        return Answer(chunk=check_chunk(self._embodiment, reply.get("actions")), **texts)

    def _check_greeting(self, frame: bytes) -> None:
        greeting = unpack(frame)
        if greeting.get("protocol") != PROTOCOL:
            sent = str(greeting.get("protocol"))[:20]
            raise WireError(
                Code.WIRE_FRAME, f"the server speaks protocol {sent}, this robot {PROTOCOL}", "update the older one"
            )
        if greeting.get("embodiment") != self._embodiment.fingerprint:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"the server knows this robot as {str(greeting.get('embodiment'))[:12]}, "
                f"its own contract is {self._embodiment.fingerprint[:12]}",
                "register the robot with its embodiment again",
            )
