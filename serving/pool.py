"""A gateway's connections to replicas: a request goes to the one that has least to do, and to another if that dies.

Asking again is harmless: an answer depends on the observation and its place only. What a dying replica held is asked
elsewhere within what is left of its time. The connections need neither Serve nor Ray once they are made.
"""

import asyncio
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.door import Address
from serving.frames import Framed, send_hello
from serving.slots import Slots
from volano.errors import Code, ServeError, VolanoError

_LOG = logging.getLogger(__name__)
_CONNECT_S = 2.0
_ATTEMPTS = 2
"""What ends a replica, or what a replica ends, is not tried on all of them."""
_MAX_UNSENT_BYTES = 64 << 20
_MAX_SHARED = 32
"""Questions whose memory one replica may hold: one that hangs must not hold all of it. Further ones are sent."""
_SILENT_S = 5
"""A machine that lost its power or network says nothing: its connections end after so many seconds."""


class Pool:
    """Implements `serving.routes.Act`. It belongs to the loop that `attach` named; `join`, `leave` and `count` are for
    every other thread."""

    def __init__(self, batched: Callable[[int, float], None] | None = None) -> None:
        """`batched` hears of each answer in how large a batch it was made, and what that took in seconds."""
        self.slots = Slots()
        """Memory that its replicas of this machine share: an observation that lies there is not copied."""
        self._batched = batched or _unheard
        self._retired: list[tuple[str, _Replica]] = []
        """Those that may answer yet."""
        self._replicas: dict[str, dict[str, _Replica]] = {}
        """By policy and token."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop asks."""
        self._loop = loop

    def count(self, policy: str) -> int:
        """Replicas of a policy that are connected."""
        return len(self._replicas.get(policy, {}))

    def states(self) -> dict[tuple[str, str], int]:
        """Replicas by policy and state: `alive`, or `draining` while what they were asked is answered yet."""
        found = {(policy, "alive"): len(held) for policy, held in self._replicas.copy().items()}
        for policy, replica in self._retired:
            if replica.is_open:
                found[policy, "draining"] = found.get((policy, "draining"), 0) + 1
        return found

    def join(self, policy: str, addresses: Iterable[Address]) -> None:
        """Connect to those of a policy's replicas that are not connected yet; returns when that was tried."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._join_all(policy, addresses), self._loop).result(2 * _CONNECT_S)

    def leave(self, policy: str) -> None:
        """Ask a policy's replicas nothing more; what is under way is answered yet."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._retire, policy)

    def close(self) -> None:
        """End every connection."""
        for held in self._replicas.values():
            for replica in held.values():
                replica.abort()
        self._replicas.clear()

    def __call__(
        self, policy: str, observation: Mapping[str, Any], within_s: float
    ) -> "asyncio.Future[NDArray[np.float32]]":
        """A chunk (horizon, channels). It fails with ServeError when no replica is there or none answers in time, and
        with what the replica raised."""
        loop = asyncio.get_running_loop()
        question = _Question(
            policy=policy,
            observation=observation,
            within_s=within_s,
            until=time.monotonic() + within_s,
            answer=loop.create_future(),
            attempts=_ATTEMPTS,
        )
        timer = loop.call_later(within_s, question.give_up)
        question.answer.add_done_callback(lambda _: question.settle(timer))
        self._ask(question)
        return question.answer

    def _ask(self, question: "_Question") -> None:
        """Ask the replica that has least to do, if a question may be asked once more."""
        replicas = self._replicas.get(question.policy)
        if replicas and question.attempts:
            question.attempts -= 1
            min(replicas.values(), key=lambda one: one.busy).ask(question)
        else:
            cause = f"no replica of policy {question.policy[:12]} answers"
            question.fail(ServeError(Code.SERVE_UNAVAILABLE, cause, "wait"))

    async def _join_all(self, policy: str, addresses: Iterable[Address]) -> None:
        held = self._replicas.get(policy, {})
        await asyncio.gather(*(self._join(policy, one) for one in addresses if one.token not in held))

    def _retire(self, policy: str) -> None:
        self._retired = [(one, replica) for one, replica in self._retired if replica.is_open]
        for replica in self._replicas.pop(policy, {}).values():
            replica.retire()
            self._retired.append((policy, replica))

    async def _join(self, policy: str, address: Address) -> None:
        replica: _Replica | None = None
        try:
            async with asyncio.timeout(_CONNECT_S):
                replica = await _connect(policy, address, self.slots, _Around(again=self._ask, batched=self._batched))
                await replica.greeted
        except (OSError, TimeoutError) as error:
            _LOG.warning("cannot reach a replica of policy %s at %s: %s", policy[:12], address.host, error)
            if replica is not None:
                replica.abort()
            return
        self._replicas.setdefault(policy, {})[address.token] = replica
        replica.when_lost = lambda: self._lose(policy, address.token)

    def _lose(self, policy: str, token: str) -> None:
        held = self._replicas.get(policy, {})
        held.pop(token, None)
        if not held:
            self._replicas.pop(policy, None)


@dataclass(kw_only=True, eq=False)
class _Question:
    """What is asked, of one replica after another."""

    policy: str
    observation: Mapping[str, Any]
    within_s: float
    until: float
    """On this machine's monotonic clock."""
    answer: "asyncio.Future[NDArray[np.float32]]"
    attempts: int
    """That are left."""
    held: object = ()
    """Memory that the replica may read until it has answered, also when nobody waits any more."""

    def fail(self, error: Exception) -> None:
        """Nobody answers this, unless it was answered."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def give_up(self) -> None:
        """No replica answered in time."""
        cause = f"no action within {self.within_s} s"
        self.fail(ServeError(Code.SERVE_TIMEOUT, cause, "add replicas or use a smaller policy"))

    def settle(self, timer: asyncio.TimerHandle) -> None:
        """Nobody waits any more."""
        timer.cancel()
        self.observation = {}


def _unheard(size: int, computed_s: float) -> None:
    del size, computed_s


@dataclass(frozen=True, kw_only=True)
class _Around:
    """Where a replica's questions and answers go beside those who wait."""

    again: Callable[[_Question], None]
    """Takes the questions that it will not answer."""
    batched: Callable[[int, float], None]


class _Replica(Framed):
    """A connection to one replica."""

    def __init__(self, slots: Slots | None, around: _Around) -> None:
        """`slots` is the memory that the replica shares; None for one that is far away."""
        super().__init__()
        self._batched = around.batched
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_lost: Callable[[], None] = lambda: None
        """Called before its questions are asked again."""
        self._slots = slots
        self._again = around.again
        self._numbers = itertools.count()
        self._owed: dict[int, _Question] = {}
        """Questions without an answer, also those that nobody waits for any more: a replica that hangs is busy."""
        self._retired = False

    @property
    def busy(self) -> int:
        """Questions that it was not done with."""
        return len(self._owed)

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self.transport is not None and not self.transport.is_closing()

    def ask(self, question: _Question) -> None:
        """Send a question."""
        if self.transport is None or self.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._again(question)
            return
        number = next(self._numbers)
        arrays, rest = dict[str, NDArray[Any]](), dict[str, Any]()
        for name, value in question.observation.items():
            (arrays if isinstance(value, np.ndarray) else rest)[name] = value
        places: Mapping[str, int] = {}
        if self._slots is not None and self.busy < _MAX_SHARED:
            places, question.held = self._slots.lay(arrays)
        self._owed[number] = question
        now = time.monotonic()
        asked = {"number": number, "asked_at": now, "within_s": question.until - now, "observation": rest}
        self.send(asked, arrays, places)

    def retire(self) -> None:
        """End the connection once nobody waits for an answer of it any more."""
        self._retired = True
        for question in self._owed.values():
            question.answer.add_done_callback(lambda _: self._end_retired())
        self._end_retired()

    def _end_retired(self) -> None:
        if all(question.answer.done() for question in self._owed.values()):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ask its questions of another."""
        del exc
        self.when_lost()
        owed, self._owed = self._owed, {}
        waiting = [question for question in owed.values() if not question.answer.done()]
        if waiting:
            _LOG.warning("a replica of policy %s went away while it was asked", waiting[0].policy[:12])
        for question in waiting:
            self._again(question)
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionError("the replica went away"))

    def frame_received(self, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Its greeting, or an answer."""
        if not self.greeted.done():
            self.greeted.set_result(None)
            return
        question = self._owed.pop(fields["number"], None)
        if question is None or question.answer.done():  # nobody waits any more
            return
        if "code" in fields:
            code = Code(fields["code"])
            kind = ServeError if code in {Code.SERVE_TIMEOUT, Code.SERVE_UNAVAILABLE} else VolanoError
            question.fail(kind(code, fields["cause"], fields["fix"]))
        else:
            question.answer.set_result(arrays["chunk"])
            self._batched(fields["batch"], fields["computed_s"])


async def _connect(policy: str, address: Address, slots: Slots, around: _Around) -> _Replica:
    """Knock at a door, and say who comes."""
    loop, hello = asyncio.get_running_loop(), {"token": address.token, "policy": policy, "now": time.monotonic()}
    if not os.path.exists(address.path):
        _, far = await loop.create_connection(lambda: _Replica(None, around), address.host, address.port)
        if far.transport is not None:
            _notice_silence(far.transport.get_extra_info("socket"))
        far.send(hello, {})
        return far
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        await loop.sock_connect(made, address.path)
        send_hello(made, hello, slots.descriptor)
        _, near = await loop.create_unix_connection(lambda: _Replica(slots, around), sock=made)
    except BaseException:
        made.close()
        raise
    return near


def _notice_silence(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, _SILENT_S - 2)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_S * 1000)
