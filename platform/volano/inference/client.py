"""What a robot installs: asks a gateway for actions, and says within its deadline when there are none.

Imports NumPy, msgpack and websockets only, and PyAV where images go as files. Every answer was checked against the
robot's own contract and belongs to the observation it was asked with; whatever goes wrong ends in None, and the robot
executes `fallback_chunk`.
"""

import random as random_module
import ssl
import time
from collections.abc import Callable

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ServeError, WireError
from volano.inference.asking import MAX_TEXT, Answer, Asker, Observation, OnStatus, trouble
from volano.inference.guard import fallback_chunk, is_stale
from volano.inference.hold.keeper import LeaseKeeper, nowhere
from volano.inference.link import Link
from volano.inference.protocols.dialect import Coding
from volano.inference.protocols.own import Status

__all__ = ["Answer", "Observation", "RobotClient", "Status", "fallback_chunk"]


class RobotClient:
    """One robot's connection to a gateway; use it from one thread."""

    def __init__(
        self,
        url: str,
        key: str,
        embodiment: Embodiment,
        robot: str,
        timeout_s: float,
        *,
        images: Coding = "raw",
        name_unchanged: bool = True,
        on_status: OnStatus | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
        offline: Callable[[], str] = nowhere,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is `ws://` or `wss://`; `timeout_s` is the longest that `act` may take; `images` is how changed images
        are sent, and with `name_unchanged` the others are not sent again; `on_status` is called, in a thread of the
        connection, with what the gateway tells of a policy that is not ready; `clock` is monotonic seconds, `random`
        within [0, 1) spreads reconnects; `offline` says why the robot has to stand still whatever the gateway says
        (`hold.offline`); `tls` is `volano.certificates.client_context`, for `wss://` by an authority of one's own or
        with a certificate of the robot. Connecting starts now, in the background."""
        self._timeout_s = timeout_s
        self._clock = clock
        self._problem = ""
        self._asker = Asker(embodiment, robot, images=images, name_unchanged=name_unchanged, on_status=on_status)
        self._link = Link(url, key, self._asker, clock=clock, random=random, tls=tls)
        self._lease = LeaseKeeper(url, key, offline=offline, tls=tls)

    @property
    def problem(self) -> str:
        """Why the last `act` returned None, with its code; empty when it answered."""
        return self._problem

    @property
    def stopped(self) -> str:
        """Why no policy may act now, whatever was answered: an operator's stop, or a control lease that ended. Empty
        while one may. Ask before every tick that executes a row of a chunk, and fall back at once."""
        return self._lease.problem

    @property
    def status(self) -> Status | None:
        """How the policy stands, as the gateway told last on this connection; None when it told nothing."""
        return self._asker.status

    def start_episode(self, attempt: str, task: str) -> None:
        """Every `act` from now on belongs to this attempt: a plain name, unique for the robot."""
        self._asker.start_episode(attempt, task)

    def act(self, observation: Observation, instruction: str, tick: int) -> Answer | None:
        """The policy's answer to this observation, or None within the deadline: fall back.

        None when the server is late, gone, refuses, has another contract or answered with what the contract does not
        allow; `problem` says which. `tick` counts the episode's control ticks and never goes back.
        """
        asked_at = self._clock()
        try:
            answer = self._asked(observation, instruction, tick, asked_at)
            if is_stale(asked_at, self._clock(), self._timeout_s):
                raise WireError(Code.SERVE_TIMEOUT, "the answer came late", "raise the deadline or the serving speed")
        except (WireError, ServeError) as error:
            self._problem = f"{error.code} {error.cause}"[:MAX_TEXT]
            return None
        self._problem = ""
        return answer

    def close(self) -> None:
        """End the connection."""
        self._lease.close()
        self._link.close()

    def _asked(self, observation: Observation, instruction: str, tick: int, asked_at: float) -> Answer:
        """The answer while a policy may act; asked twice where the gateway did not know an image by its name."""
        if stopped := self._lease.wait(self._timeout_s):
            raise trouble(self._link.trouble or stopped)
        try:
            answer = self._exchange(observation, instruction, tick, asked_at + self._timeout_s)
        except WireError as error:
            if error.code is not Code.WIRE_IMAGE:
                raise
            answer = self._exchange(observation, instruction, tick, asked_at + self._timeout_s)
        if stopped := self._lease.problem:
            raise trouble(stopped)
        return answer

    def _exchange(self, observation: Observation, instruction: str, tick: int, deadline: float) -> Answer:
        number = self._link.settled(max(deadline - self._clock(), 0.0))
        frame = self._asker.ask(observation, instruction, tick, number)
        reply = self._link.exchange(frame, max(deadline - self._clock(), 0.0))
        if isinstance(reply, str):
            raise trouble(reply)
        return self._asker.answered(reply)
