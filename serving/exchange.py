"""Answers one observation of one robot: check, pin the route, act within the deadline, guard, shadow. Which words the
robot used, and over which transport, it does not know.

The route is asked when an episode begins, kept even when the robot reconnects, and asked again every five minutes: the
policy is the same, but it may be that the robot must not execute it any more. A shadow policy starts after the acting
policy answered, one at a time per connection, and its actions never leave this module.
"""

import asyncio
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from weakref import WeakValueDictionary

from serving.admission import Admission
from serving.limits import Buckets, Limits
from serving.metrics import Metrics
from serving.routes import (
    Access,
    AccessLog,
    Act,
    Directory,
    RobotRecord,
    Route,
    ShadowEntry,
    ShadowJournal,
    withdrawn,
)
from serving.tls import Certificate
from volano.embodiment.contract import Embodiment
from volano.errors import Code, LedgerError, ServeError, VolanoError, WireError
from volano.inference.guard import FloatArray, action_distance, check_chunk, clamped_share
from volano.inference.kept import Kept
from volano.inference.protocols.dialect import Answer
from volano.inference.session import IDLE_GAP_S, Place, Request, read_request

MAX_CONVERSATIONS = 8
"""Of one robot at a time on one port: a robot that lost its network comes back while its old connection still looks
alive."""
_LOG = logging.getLogger(__name__)
_PINNED_EPISODES = 16
"""Episodes per robot whose route is remembered."""
_ROUTE_S = 300.0
"""After so long a running episode's route is asked again: permission may have ended meanwhile."""
_END_S = 1.0
_BURST_S = 2.0
_LOOK_S = 0.1


@dataclass(kw_only=True)
class Conversation:
    """One connection of one robot."""

    connection: str
    key_sha256: str
    robot: RobotRecord
    protocol: str
    certificate: Certificate | None = None
    """What was shown on the connection, where that is asked for."""
    place: Place | None = None
    boundary: bool = False
    """The robot said in its protocol's words that its episode ended."""
    session: str = ""
    """What the robot called its episode last, if its protocol does."""
    kept: Kept | None = None
    """Its images, and what was agreed on about them; None before a hello, and in protocols without one."""
    shadow: "asyncio.Task[None] | None" = None
    asked_at: float = -math.inf
    """When its robot last asked for actions of an episode that it may go on with, in monotonic seconds."""
    sent_away: bool = False
    """Its robot wanted to begin an episode, and the gateway is being stopped."""

    def is_under_way(self, now: float) -> bool:
        """Whether its robot seems to be in the middle of an episode."""
        return not self.sent_away and not self.boundary and now - self.asked_at <= IDLE_GAP_S


@dataclass(kw_only=True)
class _Trace:
    """What the access log will say of a request, filled as far as it came."""

    started: float
    request: str
    marks: list[float] = field(default_factory=list)
    """When it was read, routed and answered by its policy, in monotonic seconds, as far as it came."""
    route: Route = field(default_factory=lambda: Route(policy="", shadow=None, rollout="", arm=""))
    episode: str = ""
    tick: int = -1

    def spent_ms(self) -> tuple[float, float, float]:
        """On reading, routing and the policy; 0 for what was not come to."""
        spent = [(after - before) * 1e3 for before, after in pairwise([self.started, *self.marks])]
        read, route, policy = [*spent, 0.0, 0.0, 0.0][:3]
        return read, route, policy


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    """An episode's route, and when it was asked, in monotonic seconds."""

    route: Route
    at: float


class Exchanger:
    """Holds what outlives a connection: pinned routes, running shadows, and the doors."""

    def __init__(
        self,
        *,
        directory: Directory,
        admission: Admission[RobotRecord],
        act: Act,
        access: AccessLog,
        shadow: ShadowJournal,
        timeout_s: float,
        require: Callable[[RobotRecord], None] = lambda _: None,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`require` raises ServeError while a robot has to stand still; `clock` gives monotonic seconds."""
        chosen = limits or Limits()
        self._questions = Buckets(chosen.answers_per_s, chosen.answers_per_s * _BURST_S)
        self._episodes = Buckets(chosen.episodes_per_minute / 60, chosen.episodes_per_minute)
        self._metrics = metrics or Metrics()
        self._admission = admission
        self._directory = directory
        self._act = act
        self._access = access
        self._shadow = shadow
        self._timeout_s = timeout_s
        self._require = require
        self._clock = clock
        self.withdrawn: frozenset[tuple[str, str]] = frozenset()
        """Rollout and policy of what was rolled back: its episodes get no more actions."""
        self.leaving = False
        """No episode begins any more; those that run go on."""
        self._talks: WeakValueDictionary[str, Conversation] = WeakValueDictionary()
        """By connection; those that asked for something."""
        self._pinned: dict[str, OrderedDict[str, _Pinned]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    def count(self, conversation: Conversation) -> None:
        """Count a frame before it is read. Raises ServeError(E-SERVE-004) when its robot sends too many."""
        now = self._clock()
        if not self._questions.take(conversation.robot.id, now):
            error = ServeError(Code.SERVE_RATE, "the robot asks more often than it may", "ask less often")
            self.note_unread(conversation, error, now)
            raise error

    @contextmanager
    def writing(self, conversation: Conversation) -> Iterator[None]:
        """Note how long it takes to write an answer in its protocol's words."""
        began = self._clock()
        yield
        self._metrics.spent(conversation.protocol, "write", self._clock() - began)

    async def answer(self, conversation: Conversation, observation: Mapping[str, Any], received: float) -> Answer:
        """The answer to an observation under our keys, whose last byte was `received` in monotonic seconds. Raises
        WireError or ContractError: the robot is refused; any other VolanoError: it must hold. Either way one line goes
        to the access log."""
        trace = _Trace(started=received, request=secrets.token_hex(8))
        outcome = str(Code.SERVE_UNAVAILABLE)
        try:
            reply = await self._reply(conversation, observation, trace)
            outcome = "answered"
        except VolanoError as error:
            outcome = str(error.code)
            raise
        finally:
            self._log(conversation, trace, outcome)
        return reply

    def note_unread(self, conversation: Conversation, error: VolanoError, received: float) -> None:
        """A line in the access log for a frame that could not be read."""
        self._log(conversation, _Trace(started=received, request=secrets.token_hex(8)), str(error.code))

    def _log(self, conversation: Conversation, trace: _Trace, outcome: str) -> None:
        read_s, route_s, policy_s = (milliseconds / 1e3 for milliseconds in trace.spent_ms())
        access = Access(
            at=time.time(),
            protocol=conversation.protocol,
            read_s=read_s,
            route_s=route_s,
            policy_s=policy_s,
            robot=conversation.robot.id,
            episode=trace.episode,
            tick=trace.tick,
            request=trace.request,
            policy=trace.route.policy,
            rollout=trace.route.rollout,
            arm=trace.route.arm,
            latency_s=self._clock() - trace.started,
            outcome=outcome,
        )
        self._metrics.note(access)
        self._access(access)

    async def drain(self, within_s: float) -> int:
        """Wait until no robot is in the middle of an episode, for so long at most; returns how many still are."""
        until = self._clock() + within_s
        while True:
            now = self._clock()
            under_way = sum(one.is_under_way(now) for one in list(self._talks.values()))
            if not under_way or now >= until:
                return under_way
            await asyncio.sleep(min(_LOOK_S, until - now))

    async def stop(self) -> None:
        """Cancel what still runs, and wait for it a moment: a policy that cannot be interrupted holds nobody back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_S)

    async def _reply(self, conversation: Conversation, message: Mapping[str, Any], trace: _Trace) -> Answer:
        robot = conversation.robot
        if conversation.place is not None:  # also one that has to stand still
            self._goes_on(conversation)
        self._require(robot)
        request, place = read_request(
            robot.id,
            robot.embodiment,
            conversation.connection,
            conversation.place,
            message,
            now=trace.started,
            boundary=conversation.boundary,
        )
        trace.episode, trace.tick = request.episode, request.tick
        if self.leaving and request.new_episode and request.episode not in self._pinned.get(robot.id, {}):
            conversation.sent_away = True
            raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is stopping", "connect again, to another one")
        self._goes_on(conversation)
        trace.marks.append(self._clock())
        trace.route = route = await self._route(conversation, request)
        if (route.rollout, route.policy) in self.withdrawn:
            conversation.place, conversation.boundary = place, not place.explicit
            raise withdrawn(route.policy)
        conversation.place, conversation.boundary = place, False
        began = self._clock()
        trace.marks.append(began)
        left = self._timeout_s - (began - trace.started)
        if left <= 0:
            raise ServeError(Code.SERVE_TIMEOUT, "the observation is too old by now", "send the newest one")
        chunk = await self._decide(route.policy, robot.embodiment, request.observation, left)
        self._require(robot)  # an order that came while the policy thought
        trace.marks.append(self._clock())
        read_ms, route_ms, infer_ms = trace.spent_ms()
        self._start_shadow(conversation, request, trace, chunk)
        return Answer(
            chunk=chunk,
            policy=route.policy,
            request=trace.request,
            rollout=route.rollout,
            arm=route.arm,
            read_ms=read_ms,
            route_ms=route_ms,
            infer_ms=infer_ms,
        )

    def _goes_on(self, conversation: Conversation) -> None:
        conversation.asked_at = self._clock()
        self._talks[conversation.connection] = conversation

    async def _route(self, conversation: Conversation, request: Request) -> Route:
        """The episode's route; a new episode on a connection checks anew that the robot may act at all."""
        robot = conversation.robot
        pinned = self._pinned.setdefault(robot.id, OrderedDict())
        if request.new_episode:
            record = await asyncio.to_thread(self._directory.robot, conversation.key_sha256)
            if record != robot:
                raise WireError(Code.WIRE_AUTH, "the robot's key or contract was changed", "connect again")
            self._admission.agree(robot.id, conversation.certificate)
        known, now = pinned.get(request.episode), self._clock()
        if known is not None and now - known.at < _ROUTE_S:
            return known.route
        if known is None and not self._episodes.take(robot.id, now):
            raise ServeError(
                Code.SERVE_RATE, "the robot begins more episodes than it may", "go on with the one that it has"
            )
        try:
            found = await asyncio.to_thread(self._directory.route, robot.id, request.task, request.episode)
        except LedgerError as error:
            if known is None or error.code != Code.LEDGER_UNAVAILABLE:
                raise
            found = known.route  # without its ledger a gateway goes on with what is under way
        if request.episode not in pinned:
            self._metrics.began(found.policy)
        pinned[request.episode] = _Pinned(route=found, at=now)
        while len(pinned) > _PINNED_EPISODES:
            pinned.popitem(last=False)
        return found

    async def _decide(
        self, policy: str, embodiment: Embodiment, observation: Mapping[str, Any], within_s: float
    ) -> FloatArray:
        """The acting policy's checked chunk; raises ServeError when there is none."""
        try:
            return await self._ask(policy, embodiment, observation, within_s)
        except ServeError:
            raise
        except VolanoError as error:
            _LOG.exception("policy %s gave no valid action", policy)
            raise ServeError(Code.SERVE_UNAVAILABLE, f"{error.code} {error.cause}", error.fix) from error

    async def _ask(
        self, policy: str, embodiment: Embodiment, observation: Mapping[str, Any], within_s: float
    ) -> FloatArray:
        """A policy's checked chunk. Raises ServeError when it is late or fails, WireError(E-WIRE-005) when what it
        answers is no action, and the VolanoError that it raised."""
        asked = asyncio.ensure_future(self._act(policy, observation, within_s))
        self._tasks.add(asked)
        asked.add_done_callback(self._tasks.discard)
        if not await _ended(asked, within_s):
            asked.cancel()  # not awaited: a policy that cannot be interrupted must not hold the robot's answer back
            raise ServeError(
                Code.SERVE_TIMEOUT, f"no action within {self._timeout_s} s", "add replicas or use a smaller policy"
            )
        try:
            return check_chunk(embodiment, asked.result())
        except VolanoError:
            raise
        except Exception as error:
            _LOG.exception("policy %s failed", policy)
            raise ServeError(Code.SERVE_UNAVAILABLE, "the policy failed", "see the gateway's log") from error

    def _start_shadow(self, conversation: Conversation, request: Request, trace: _Trace, chunk: FloatArray) -> None:
        running = conversation.shadow is not None and not conversation.shadow.done()
        if trace.route.shadow is None or running:
            return
        work = self._compare(conversation.robot, trace.route.shadow, request, trace, chunk)
        conversation.shadow = asyncio.ensure_future(work)
        self._tasks.add(conversation.shadow)
        conversation.shadow.add_done_callback(self._tasks.discard)

    async def _compare(
        self, robot: RobotRecord, shadow: str, request: Request, trace: _Trace, chunk: FloatArray
    ) -> None:
        distance, clamped, problem, began = None, None, "", self._clock()
        try:
            other = await self._ask(shadow, robot.embodiment, request.observation, self._timeout_s)
            distance = action_distance(robot.embodiment, chunk, other)
            clamped = clamped_share(robot.embodiment, other)
        except VolanoError as error:  # by its own code: a rollout forgives some late answers, and no invalid one
            problem = str(error.code)
        self._shadow(
            ShadowEntry(
                robot=robot.id,
                episode=request.episode,
                tick=request.tick,
                request=trace.request,
                policy=trace.route.policy,
                shadow=shadow,
                rollout=trace.route.rollout,
                distance=distance,
                clamped=clamped,
                latency_s=self._clock() - began,
                problem=problem,
            )
        )


async def _ended(asked: "asyncio.Future[Any]", within_s: float) -> bool:
    """Whether a question ends in time. As `asyncio.wait` does for any number of them, but in half the steps."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = loop.call_later(within_s, wake)
    asked.add_done_callback(wake)
    try:
        await woken
    finally:
        timer.cancel()
        asked.remove_done_callback(wake)
    return asked.done()
