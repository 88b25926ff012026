"""Answers one frame of one robot: decode, check, pin the route, act within the deadline, guard, reply, shadow.

The route is asked once per episode and kept even when the robot reconnects. A shadow policy starts after the acting
policy answered, one at a time per connection, and its actions never leave this module.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.routes import Access, AccessLog, Act, Directory, RobotRecord, Route, ShadowEntry, ShadowJournal
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ServeError, VolanoError, WireError
from volano.inference.guard import FloatArray, action_distance, check_chunk
from volano.inference.protocols.openpi import pack, unpack
from volano.inference.session import Place, Request, frame_limit, read_request

_LOG = logging.getLogger(__name__)
_PINNED_EPISODES = 16
"""Episodes per robot whose route is remembered."""
_END_S = 1.0


@dataclass(kw_only=True)
class Conversation:
    """One connection of one robot."""

    connection: str
    key_sha256: str
    robot: RobotRecord
    place: Place | None = None
    shadow: "asyncio.Task[None] | None" = None


@dataclass(kw_only=True)
class _Trace:
    """What the access log will say of a request, filled as far as it came."""

    started: float
    request: str
    route: Route = field(default_factory=lambda: Route(policy="", shadow=None, rollout="", arm=""))
    place: Place = field(default_factory=lambda: Place(episode="", tick=-1, explicit=False))


class Exchanger:
    """Holds what outlives a connection: pinned routes, running shadows, and the doors."""

    def __init__(
        self, *, directory: Directory, act: Act, access: AccessLog, shadow: ShadowJournal, timeout_s: float
    ) -> None:
        self._directory = directory
        self._act = act
        self._access = access
        self._shadow = shadow
        self._timeout_s = timeout_s
        self._pinned: dict[str, OrderedDict[str, Route]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, conversation: Conversation, frame: bytes | str) -> bytes:
        """The reply to a frame. Raises WireError or ContractError: the robot is refused; any other VolanoError: it must
        hold. Either way one line goes to the access log."""
        trace = _Trace(started=time.monotonic(), request=secrets.token_hex(8))
        outcome = str(Code.SERVE_UNAVAILABLE)
        try:
            reply = await self._reply(conversation, frame, trace)
            outcome = "answered"
        except VolanoError as error:
            outcome = str(error.code)
            raise
        finally:
            self._access(
                Access(
                    robot=conversation.robot.id,
                    episode=trace.place.episode,
                    tick=trace.place.tick,
                    request=trace.request,
                    policy=trace.route.policy,
                    rollout=trace.route.rollout,
                    arm=trace.route.arm,
                    latency_s=time.monotonic() - trace.started,
                    outcome=outcome,
                )
            )
        return reply

    async def stop(self) -> None:
        """Cancel what still runs, and wait for it a moment: a policy that cannot be interrupted holds nobody back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_S)

    async def _reply(self, conversation: Conversation, frame: bytes | str, trace: _Trace) -> bytes:
        robot = conversation.robot
        request, place = _decode(conversation, frame)
        trace.place = place
        trace.route = route = await self._route(conversation, request)
        conversation.place = place
        began = time.monotonic()
        chunk = await self._decide(route.policy, robot.embodiment, request.observation)
        infer_ms = (time.monotonic() - began) * 1e3
        self._start_shadow(conversation, request, trace, chunk)
        return pack(
            {
                "actions": chunk,
                "policy": route.policy,
                "request": trace.request,
                "rollout": route.rollout,
                "arm": route.arm,
                "server_timing": {"infer_ms": infer_ms},
            }
        )

    async def _route(self, conversation: Conversation, request: Request) -> Route:
        """The episode's route; a new episode on a connection checks anew that the robot may act at all."""
        robot = conversation.robot
        pinned = self._pinned.setdefault(robot.id, OrderedDict())
        if request.new_episode:
            record = await asyncio.to_thread(self._directory.robot, conversation.key_sha256)
            if record != robot:
                raise WireError(Code.WIRE_AUTH, "the robot's key or contract was changed", "connect again")
        if request.episode not in pinned:
            found = await asyncio.to_thread(self._directory.route, robot.id, request.task, request.episode)
            pinned.setdefault(request.episode, found)
            while len(pinned) > _PINNED_EPISODES:
                pinned.popitem(last=False)
        return pinned[request.episode]

    async def _decide(self, policy: str, embodiment: Embodiment, observation: Mapping[str, Any]) -> FloatArray:
        """The acting policy's checked chunk; raises ServeError when there is none."""
        try:
            return await self._ask(policy, embodiment, observation)
        except ServeError:
            raise
        except VolanoError as error:
            _LOG.exception("policy %s gave no valid action", policy)
            raise ServeError(Code.SERVE_UNAVAILABLE, f"{error.code} {error.cause}", error.fix) from error

    async def _ask(self, policy: str, embodiment: Embodiment, observation: Mapping[str, Any]) -> FloatArray:
        """A policy's checked chunk. Raises ServeError when it is late or fails, WireError(E-WIRE-005) when what it
        answers is no action, and the VolanoError that it raised."""
        task = asyncio.ensure_future(self._act(policy, observation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        if not done:
            task.cancel()  # not awaited: a policy that cannot be interrupted must not hold the robot's answer back
            raise ServeError(
                Code.SERVE_TIMEOUT, f"no action within {self._timeout_s} s", "add replicas or use a smaller policy"
            )
        try:
            return check_chunk(embodiment, task.result())
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
        distance, problem = None, ""
        try:
            other = await self._ask(shadow, robot.embodiment, request.observation)
            distance = action_distance(robot.embodiment, chunk, other)
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
                problem=problem,
            )
        )


def _decode(conversation: Conversation, frame: bytes | str) -> tuple[Request, Place]:
    if isinstance(frame, str):
        raise WireError(Code.WIRE_FRAME, "the robot sent a text frame", "send binary frames")
    robot = conversation.robot
    message = unpack(frame, frame_limit(robot.embodiment))
    return read_request(robot.id, robot.embodiment, conversation.connection, conversation.place, message)
