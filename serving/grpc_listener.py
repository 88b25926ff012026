"""LeRobot's async inference over gRPC, for its stock clients: the listener owns their connections and answers through
the same exchanger as every other gateway.

A client says who it is in its policy's name, once; before that, nothing of it is kept and no observation of it read.
What belongs to a client is found by its connection's address and shared with no other. Refusals are a gRPC status with
our code and one line; a policy that is late or fails is an empty answer, after which the client asks again.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc

from serving.admission import Caller, caller_at
from serving.entrance import Entrance
from serving.exchange import Conversation
from serving.keys import digest_of
from serving.peers import Peer, Peers, Waiting
from serving.ports import bracketed, cannot_listen
from serving.refusals import RefusalLog
from serving.tls import HANDSHAKE_S, shown_to_grpc
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.arrays import beyond
from volano.inference.protocols.lerobot import check_setup, read_observation, read_setup
from volano.inference.protocols.lerobot_actions import write_actions
from volano.inference.protocols.protobuf import BEGIN, END, read_data, read_part, write_data
from volano.inference.session import check_observation, frame_limit

_LOG = logging.getLogger(__name__)
_PROTOCOL = "lerobot"
_SERVICE = "transport.AsyncInference"
_NOTHING = b""
"""`Empty`, and `Actions` without data: ask again."""
_PATIENCE_S = 2.0
"""For an observation to come, as in LeRobot's own server."""
_REFUSED_S = 1.0
"""A stock client that is refused actions asks again at once, without end."""
_ARRIVE_S = 10.0
"""For an observation's parts to come."""
_MAX_PARTS = 64
_MAX_CALLS = 4096
"""Under way, of all clients."""
_MAX_STRANGERS = 256
"""That wait for their refusal."""
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # else two processes share a port in silence
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_S * 1000)),
    ("grpc.max_allowed_incoming_connections", 512),
)
_STATUS = {
    Code.WIRE_AUTH: grpc.StatusCode.UNAUTHENTICATED,
    Code.WIRE_LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.CONTRACT_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Code.SERVE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.SERVE_RATE: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Any other refusal is INVALID_ARGUMENT. Stock clients try again by themselves where we are UNAVAILABLE."""
Context = Any
"""`grpc.aio.ServicerContext`, which has no types."""


async def listen_lerobot(host: str, port: int, entrance: Entrance) -> "GrpcListener":
    """Start a listener; port 0 takes a free one. Raises ServeError(E-SERVE-001) when the address is taken or not of
    this machine."""
    listener = GrpcListener(entrance)
    await listener.listen(host, port)
    return listener


class GrpcListener:
    """A listening server; `stop` ends it after the answers in flight."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._exchanger = entrance.exchanger
        self._peers = Peers()
        self._strangers = 0
        """Calls of nobody that wait for their refusal."""
        self._refusals = RefusalLog("calls")
        self._failed = RefusalLog("answers")
        self._server: Any = None
        self.port = 0
        """Port that it listens on."""

    async def listen(self, host: str, port: int) -> None:
        """Open the socket."""
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CALLS)
        handlers = {
            "Ready": grpc.unary_unary_rpc_method_handler(self._ready),
            "SendPolicyInstructions": grpc.unary_unary_rpc_method_handler(self._set_up),
            "SendObservations": grpc.stream_unary_rpc_method_handler(self._observe),
            "GetActions": grpc.unary_unary_rpc_method_handler(self._act),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        try:
            address, tls = f"{bracketed(host)}:{port}", self._entrance.tls
            if tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, tls.for_grpc())
        except RuntimeError as error:
            raise cannot_listen(host, port, error) from error
        await self._server.start()

    async def stop(self) -> None:
        """Take no new call, and let answers in flight go out."""
        if self._server is not None:
            await self._server.stop(self._entrance.drain_s)

    async def _ready(self, request: bytes, context: Context) -> bytes:
        """A client begins: whoever had its address before is forgotten, and nobody else notices."""
        del request
        await self._vacate(context)
        return _NOTHING

    async def _vacate(self, context: Context) -> None:
        """Make a connection nobody's. Two clients in one process share one, and could not be told apart: the second is
        refused."""
        if self._peers.is_live(context.peer(), time.monotonic()):
            await self._refuse(context, _shared())
        self._peers.forget(context.peer())

    async def _set_up(self, request: bytes, context: Context) -> bytes:
        """Admit a robot by the key in its policy's name, if its motors and cameras are its contract's."""
        try:
            peer = await self._admit(request, _caller(context))
        except (WireError, ContractError, ServeError) as error:
            await self._refuse(context, error)
        except Exception:
            _LOG.exception("the directory failed while a robot connected")
            await self._refuse(context, ServeError(Code.SERVE_UNAVAILABLE, "try again", "see the gateway's log"))
        await self._vacate(context)
        if self._peers.is_anothers(context.peer(), peer.conversation.robot.id):
            await self._refuse(context, _shared())
        if not self._peers.admit(context.peer(), peer):
            await self._refuse(context, beyond("too many robots are connected"))
        _LOG.info("robot %s speaks LeRobot", peer.conversation.robot.id)
        return _NOTHING

    async def _admit(self, request: bytes, caller: Caller) -> Peer:
        try:
            setup = await self._entrance.admission.apart(lambda: read_setup(read_data(request)))
        except WireError:
            self._entrance.admission.fail(caller)
            raise
        record = await self._entrance.admission.robot(setup.key, caller, _PROTOCOL)
        if record.id != setup.robot:
            self._entrance.admission.fail(caller)
            raise WireError(Code.WIRE_AUTH, "unknown robot or key", "enroll the robot and give it its own key")
        check_setup(record.embodiment, setup)
        conversation = Conversation(
            connection=secrets.token_hex(16),
            key_sha256=digest_of(setup.key),
            robot=record,
            protocol=_PROTOCOL,
            certificate=caller.certificate,
        )
        return Peer(conversation=conversation, setup=setup, heard=time.monotonic())

    async def _observe(self, parts: AsyncIterator[bytes], context: Context) -> bytes:
        """Let a checked observation wait for its client's next question."""
        peer = await self._known(context)
        try:
            self._exchanger.count(peer.conversation)
        except ServeError as error:
            await self._refuse(context, error)
        if peer.sending:
            await self._refuse(context, beyond("the robot sends two observations at once"))
        peer.sending = True
        robot, received = peer.conversation.robot, time.monotonic()
        try:
            limit = frame_limit(robot.embodiment)
            async with asyncio.timeout(_ARRIVE_S):
                data = await _join(parts, limit)
            received = time.monotonic()
            observed = read_observation(robot.embodiment, data, peer.setup.task, limit)
            check_observation(robot.embodiment, observed.observation)
        except TimeoutError:
            await self._refuse(context, beyond(f"an observation took more than {_ARRIVE_S} s to arrive"))
        except (WireError, ContractError) as error:
            self._exchanger.note_unread(peer.conversation, error, received)
            await self._refuse(context, error)
        finally:
            peer.sending = False
        peer.offer(Waiting(observed=observed, moment=observed.reference, received=received))
        return _NOTHING

    async def _act(self, request: bytes, context: Context) -> bytes:
        """The actions for the newest observation; nothing when none came or there are no actions now."""
        del request
        peer = await self._known(context, patient=True)
        peer.asked = True
        try:
            async with peer.turn:
                waiting = await peer.take(_PATIENCE_S)
                actions = _NOTHING if waiting is None else await self._answer(peer, waiting)
        except (WireError, ContractError) as error:  # its key or contract was changed: it is nobody any more
            self._peers.forget(context.peer())
            await self._refuse(context, error)
        except asyncio.CancelledError:  # stock clients never cancel: the connection is gone
            self._peers.forget(context.peer())
            raise
        return write_data(actions)

    async def _answer(self, peer: Peer, waiting: Waiting) -> bytes:
        """The pickled actions, empty when the robot must hold; raises WireError or ContractError when it is refused."""
        robot, moment = peer.conversation.robot, waiting.moment
        try:
            answer = await self._exchanger.answer(peer.conversation, waiting.observed.observation, waiting.received)
        except (WireError, ContractError):
            raise
        except ServeError as error:
            _LOG.info("robot %s holds: %s %s", robot.id, error.code, error.cause)
            return _NOTHING
        except VolanoError as error:  # ours, and perhaps at every tick
            self._failed.note(robot.id, str(error))
            return _NOTHING
        except Exception:
            _LOG.exception("answering robot %s failed", robot.id)
            return _NOTHING
        peer.answered(moment)
        with self._exchanger.writing(peer.conversation):
            return write_actions(
                answer.chunk[: peer.setup.actions_per_chunk],
                timestamp=moment.timestamp,
                timestep=moment.timestep,
                step_s=1 / robot.embodiment.rate_hz,
            )

    async def _known(self, context: Context, *, patient: bool = False) -> Peer:
        """Who calls; a stranger is refused, and `patient` lets it wait for that."""
        peer = self._peers.find(context.peer(), time.monotonic())
        if peer is None:
            if patient and self._strangers < _MAX_STRANGERS:
                self._strangers += 1
                try:
                    await asyncio.sleep(_REFUSED_S)
                finally:
                    self._strangers -= 1
            unknown = WireError(
                Code.WIRE_AUTH, "this connection has not said whose it is", "start the robot's client anew"
            )
            await self._refuse(context, unknown)
        return peer

    async def _refuse(self, context: Context, error: VolanoError) -> NoReturn:
        self._refusals.note(context.peer(), error.cause)
        status = _STATUS.get(error.code, grpc.StatusCode.INVALID_ARGUMENT)
        await context.abort(status, f"{error.code}  {error.cause}")
        raise AssertionError("abort raises")


def _caller(context: Context) -> Caller:
    """Who calls, by the address of its connection, `ipv4:127.0.0.1:5000` or `ipv6:[::1]:5000`."""
    host = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
    return caller_at((host, 0), shown_to_grpc(context.auth_context()))


def _shared() -> WireError:
    cause = "another client speaks on this connection: run each in a process of its own"
    return WireError(Code.WIRE_AUTH, cause, "start one client in each process")


async def _join(parts: AsyncIterator[bytes], limit: int) -> bytes:
    """The data of an observation from its parts; raises WireError: E-WIRE-004 above `limit` bytes, E-WIRE-001 when they
    are not a beginning, a middle and an end."""
    joined: list[bytes] = []
    size = count = 0
    async for message in parts:
        state, data = read_part(message)
        size, count = size + len(data), count + 1
        if size > limit or count > _MAX_PARTS:
            raise beyond(f"the observation has more than {limit} bytes or {_MAX_PARTS} parts")
        if state == BEGIN:
            joined.clear()
        joined.append(data)
        if state == END:
            return b"".join(joined)
    raise WireError(Code.WIRE_FRAME, "the observation has no end", "send all of its parts")
