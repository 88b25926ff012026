"""The robot client for motion without pauses: the next chunk is made while the last one is executed.

`step` is called once per control tick and never waits. It sends what the robot goes on executing, takes up chunks as
they arrive, and says what this tick executes: a policy's action that is young enough, or the fallback that follows
from the contract. Imports NumPy, msgpack and websockets only.
"""

import random as random_module
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from volano.embodiment.contract import Embodiment
from volano.errors import ServeError, WireError
from volano.inference.asking import MAX_TEXT, Answer, Asker, Observation, OnStatus
from volano.inference.chunking import ChunkQueue, Joining, Question
from volano.inference.guard import FloatArray, fallback_rows
from volano.inference.hold.keeper import LeaseKeeper, nowhere
from volano.inference.link import Link
from volano.inference.protocols.dialect import Coding
from volano.inference.protocols.own import Status


@dataclass(frozen=True, kw_only=True, eq=False)
class Command:
    """What one tick executes."""

    rows: FloatArray
    """Shape (rows, channels), at least one, in the contract's frame of this tick: the first is for now, the others are
    what is planned behind it."""
    answer: Answer | None
    """The newest chunk that has a part in the first row; None for the fallback."""
    age_s: float
    """Of the oldest observation that has one; 0 for the fallback."""


class StreamingClient:
    """One robot's connection to a gateway, asynchronous; use it from one thread."""

    def __init__(
        self,
        url: str,
        key: str,
        embodiment: Embodiment,
        robot: str,
        *,
        oldest_s: float,
        joining: Joining = "real_time",
        images: Coding = "raw",
        name_unchanged: bool = True,
        on_status: OnStatus | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
        offline: Callable[[], str] = nowhere,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is `ws://` or `wss://`; no action is executed whose observation is older than `oldest_s`, at most the
        horizon over the rate; everything behind `joining` as of `RobotClient`. Connecting starts now."""
        self._robot = embodiment
        self._oldest_s = oldest_s
        self._joining: Joining = joining
        self._clock = clock
        self._problem = ""
        self._asker = Asker(embodiment, robot, images=images, name_unchanged=name_unchanged, on_status=on_status)
        self._link = Link(url, key, self._asker, clock=clock, random=random, tls=tls)
        self._lease = LeaseKeeper(url, key, offline=offline, tls=tls)
        self.start_episode("", "")

    @property
    def problem(self) -> str:
        """Why the last question has no answer that may be executed, with its code; empty when it has one."""
        return self._problem

    @property
    def status(self) -> Status | None:
        """How the policy stands, as the gateway told last on this connection; None when it told nothing."""
        return self._asker.status

    @property
    def delay(self) -> int:
        """Ticks that an answer is expected to take."""
        return self._queue.delays.estimate

    def start_episode(self, attempt: str, task: str) -> None:
        """Every `step` from now on belongs to this attempt: a plain name, unique for the robot. What was planned or
        asked before has no effect any more."""
        self._asker.start_episode(attempt, task)
        self._forget()
        self._last: FloatArray | None = None

    def step(self, observation: Observation, instruction: str, tick: int) -> Command:
        """What this tick executes. `tick` counts the episode's control ticks and never goes back."""
        now = self._clock()
        self._receive(tick)
        if stopped := self._lease.problem:  # nothing that was planned before it is executed behind it
            self._problem = (self._link.trouble or stopped)[:MAX_TEXT]
            self._forget()
        elif self._asked is None and self._queue.is_due():
            self._ask(observation, instruction, tick, now)
        action = self._queue.take(now)
        if action is None:
            rows = fallback_rows(self._robot, self._last)
            command = Command(rows=rows, answer=None, age_s=0.0)
        else:
            command = Command(rows=action.rows, answer=action.source, age_s=now - action.observed_at)
        self._last = command.rows[0]
        return command

    def close(self) -> None:
        """End the connection."""
        self._lease.close()
        self._link.close()

    def _forget(self) -> None:
        """What was planned or asked has no effect any more."""
        self._queue: ChunkQueue[Answer] = ChunkQueue(robot=self._robot, joining=self._joining, oldest_s=self._oldest_s)
        self._asked: Question[Answer] | None = None

    def _receive(self, tick: int) -> None:
        reply = self._link.take()
        if reply is None or self._asked is None:
            return
        asked, self._asked = self._asked, None
        if isinstance(reply, str):
            self._problem = reply[:MAX_TEXT]
            return
        try:
            answer = self._asker.answered(reply)
            self._queue.arrive(asked, answer.chunk, answer, tick)
        except (WireError, ServeError) as error:
            self._problem = f"{error.code} {error.cause}"
        else:
            self._problem = ""

    def _ask(self, observation: Observation, instruction: str, tick: int, now: float) -> None:
        asked = self._queue.question(tick, now)
        frame = self._asker.ask(observation, instruction, tick, self._link.number, asked.prefix)
        if problem := self._link.begin(frame, self._oldest_s):
            self._problem = problem[:MAX_TEXT]
        else:
            self._asked = asked
