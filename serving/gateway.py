"""The robot gateway: an asyncio process that owns the robots' sockets and speaks their own protocols to them.

A robot is known by its key before a byte of it is decoded. What it speaks is named first in its path, or is what its
port was opened for. Its frames are answered in lock-step and within a deadline; `/healthz` is answered whatever the
policies do. To the outside go codes and one-line causes, never a traceback: `E-SERVE-…  hold: …` when there is no
action now (the connection stays); what else ends a connection, with 1011, its protocol says.
Memory is bounded per robot: by its contract's frame, by what it leaves unread, and by its number of connections.
"""

import asyncio
import http
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, cast
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse

from serving.admission import Admission, caller_at
from serving.dialects import DEFAULT, DIALECTS
from serving.entrance import Entrance
from serving.exchange import MAX_CONVERSATIONS, Conversation, Exchanger
from serving.intake import Intake, Landing
from serving.keys import digest_of, key_of
from serving.leases import Leases
from serving.limits import Limits
from serving.metrics import Metrics
from serving.ports import listening_socket
from serving.refusals import RefusalLog
from serving.routes import AccessLog, Act, Directory, RobotRecord, ShadowJournal
from serving.slots import Slots
from serving.talk import reply_to
from serving.tls import Certificate, Tls, shown_in
from serving.waiting import Standing, Waiting, nothing_to_tell
from volano.errors import Code, ServeError, WireError
from volano.inference.hold.control import CONTROL_PATH
from volano.inference.hold.keeper import LEASE_PATH
from volano.inference.hold.keeper import MAX_FRAME_BYTES as MAX_LEASE_BYTES
from volano.inference.hold.orders import MAX_BYTES as MAX_ORDER_BYTES
from volano.inference.hold.orders import Authority
from volano.inference.hold.register import HoldRegister
from volano.inference.protocols.arrays import MAX_FRAME_BYTES
from volano.inference.protocols.dialect import Dialect, Frame
from volano.inference.session import frame_limit

_LOG = logging.getLogger(__name__)
_PING_S = 20.0
_PING_PATIENCE_S = 60.0
_HEALTH = {"/healthz": "OK\n", "/health": '{"status": "ok"}\n'}
"""What probes ask, and hear: openpi's and vla-eval's."""
_READY = "/readyz"
_END_S = 1.0
"""For what was aborted to end by itself."""
_REFUSED = {
    Code.WIRE_AUTH: http.HTTPStatus.UNAUTHORIZED,
    Code.SERVE_RATE: http.HTTPStatus.TOO_MANY_REQUESTS,
}
_STOPPING = "the gateway is stopping"
_ROOM_BYTES = 1 << 20
"""A frame that passes its contract by less is answered with a code; of a larger one nothing more is read."""
_MAX_UNREAD_BYTES = 1 << 20
"""Answers and pongs that a robot may leave unread."""
Enter = Callable[[object], bool]
"""Counts a socket at its peer's name; False when it has to be closed."""
Leave = Callable[[object], None]
"""One that was counted is closed."""


async def serve(
    host: str,
    port: int,
    *,
    directory: Directory,
    act: Act,
    access: AccessLog,
    shadow: ShadowJournal,
    timeout_s: float,
    standing: Standing = nothing_to_tell,
    more: Mapping[str, int] = MappingProxyType({}),
    leases: Leases | None = None,
    slots: Slots | None = None,
    tls: Tls | None = None,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
) -> "Gateway":
    """Start a gateway; port 0 takes a free one. `timeout_s` is the longest that a policy may think about one answer
    before the robot is told to hold; `standing` says how a policy stands that is not ready. `more` are further ports,
    by the dialect of clients that give no path there; with `tls` all of them are encrypted. `access` and `shadow` are
    called in the event loop and must not block. `leases` says who is stopped; with none, no operator's order is known
    here. `slots` is the memory that observations are read to; replicas that share it read them there. Raises
    ServeError(E-SERVE-001) when an address is taken or not of this machine."""
    leases = leases or Leases(HoldRegister(), Authority(stop=(), resume=()))
    counted = metrics or Metrics()
    wants_certificates = tls is not None and tls.wants_certificates
    admission = Admission(directory.robot, limits=limits, metrics=counted, certificates=wants_certificates)
    exchanger = Exchanger(
        directory=directory,
        admission=admission,
        act=act,
        access=access,
        shadow=shadow,
        timeout_s=timeout_s,
        require=leases.require,
        limits=limits,
        metrics=counted,
    )
    entrance = Entrance(admission=admission, exchanger=exchanger, tls=tls, drain_s=timeout_s + 1)
    gateway = Gateway(entrance, leases, standing, Landing(slots or Slots()))
    leases.start()
    try:
        gateway.port = await gateway.listen(host, port, DEFAULT)
        for dialect, one in more.items():
            gateway.ports[dialect] = await gateway.listen(host, one, dialect)
    except ServeError:
        await gateway.stop()
        raise
    return gateway


class Connection(ServerConnection):
    """Reads large frames to where they stay. Ends when its robot sends and never reads: pings are answered without
    asking whether anyone listens."""

    def __init__(self, landing: Landing, enter: Enter, leave: Leave, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.intake = Intake(self, landing)
        self._enter = enter
        self._leave = leave
        self._counted: object = None
        """Its peer's name, once it was let in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if self._enter(peer):
            self._counted = peer
            transport.set_protocol(self.intake)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._counted is not None:
            self._leave(self._counted)
            self._counted = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            _LOG.warning("dropped %s: it does not read what it is sent", self.remote_address)
            self.transport.abort()


def connecting(landing: Landing, enter: Enter, leave: Leave) -> type[ServerConnection]:
    """What makes connections that read to this landing, if `enter` lets their peer in; whoever takes it only calls
    it."""
    return cast("type[ServerConnection]", partial(Connection, landing, enter, leave))


@dataclass(frozen=True, kw_only=True)
class _Admitted:
    """Who is on a connection, and what it speaks."""

    key_sha256: str
    robot: RobotRecord
    dialect: Dialect
    protocol: str
    certificate: Certificate | None
    leases: bool
    """The connection is for its control lease and for nothing else."""


class Gateway:
    """A listening gateway; `stop` ends it after the answers in flight."""

    def __init__(self, entrance: Entrance, leases: Leases, standing: Standing, landing: Landing) -> None:
        self.entrance = entrance
        """What listeners of other transports admit and answer through as well."""
        self._leases = leases
        self._standing = standing
        self._landing = landing
        self.unready: Callable[[], str] = lambda: ""
        """Why not every policy that is wanted answers, as `/readyz` tells it without a key; empty when all do."""
        self._admitted: WeakKeyDictionary[ServerConnection, _Admitted] = WeakKeyDictionary()
        self._talks: WeakKeyDictionary[ServerConnection, Conversation] = WeakKeyDictionary()
        self._idle: set[ServerConnection] = set()
        """Connections that wait for their robot's next frame."""
        self._open: dict[str, list[ServerConnection]] = {}
        """Connections by robot, oldest first."""
        self._refusals = RefusalLog("connections")
        self._stopping = False
        self._servers: list[Server] = []
        self.port = 0
        """Port that the gateway listens on."""
        self.ports: dict[str, int] = {}
        """Further ports, by dialect."""

    async def listen(self, host: str, port: int, dialect: str) -> int:
        """Open a socket for clients that speak `dialect` unless their path says otherwise; returns its port. Raises
        ServeError(E-SERVE-001) when the address is taken or not of this machine."""
        made = listening_socket(host, port)
        server = await serve_websockets(
            self._converse,
            sock=made,
            ssl=self.entrance.tls.context if self.entrance.tls is not None else None,
            process_request=partial(self._admit, dialect),
            create_connection=connecting(
                self._landing,
                partial(self.entrance.admission.enter, protocol=dialect),
                partial(self.entrance.admission.leave, protocol=dialect),
            ),
            compression=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=1,
            ping_interval=_PING_S,
            ping_timeout=_PING_PATIENCE_S,
            server_header=None,
        )
        self._servers.append(server)
        found: int = made.getsockname()[1]
        return found

    async def drain(self, within_s: float) -> None:
        """Begin no episode any more: robots that are in none are sent away with 1001, others when theirs has ended.
        Returns when all of them have, or after so many seconds; orders to stop are obeyed meanwhile."""
        exchanger, now = self.entrance.exchanger, time.monotonic()
        exchanger.leaving = True
        talks = [(connection, self._talks.get(connection)) for connection in self._idle]
        resting = [connection for connection, talk in talks if talk is not None and not talk.is_under_way(now)]
        leaving = [asyncio.ensure_future(connection.close(1001, _STOPPING)) for connection in resting]
        if left := await exchanger.drain(within_s):
            _LOG.warning("%s robots are in the middle of an episode", left)
        for one in leaving:
            one.cancel()  # a robot that never answers the closing handshake delays nobody

    async def stop(self) -> None:
        """Take no new robot, let answers in flight go out, close every connection with 1001, end shadows."""
        self._stopping = True
        for server in self._servers:
            server.close(close_connections=False)
        try:
            async with asyncio.timeout(self.entrance.drain_s):
                await asyncio.gather(*(connection.close(1001, _STOPPING) for connection in self._idle))
                await self._wait_closed()
        except TimeoutError:  # a robot that never answers the closing handshake delays nobody
            for connection in [one for connections in self._open.values() for one in connections]:
                connection.transport.abort()
        await self.entrance.exchanger.stop()
        self._leases.stop()  # until here a stop is obeyed: answers were still on their way
        self.entrance.admission.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._wait_closed()

    async def _wait_closed(self) -> None:
        await asyncio.gather(*(server.wait_closed() for server in self._servers))

    async def _admit(self, usual: str, connection: ServerConnection, request: HttpRequest) -> HttpResponse | None:
        """Answer health probes; admit a robot by its key, or refuse it before anything it sends is read. `usual` is the
        dialect of the port."""
        if request.path == _READY:
            why = _STOPPING if self._stopping else self.unready()
            status = http.HTTPStatus.SERVICE_UNAVAILABLE if why else http.HTTPStatus.OK
            return connection.respond(status, f"{why or 'OK'}\n")
        if request.path in _HEALTH:
            return connection.respond(http.HTTPStatus.OK, _HEALTH[request.path])
        path, _, query = request.path.partition("?")
        if path == CONTROL_PATH:  # who may command is known by the order's signature
            connection.protocol.max_message_size = MAX_ORDER_BYTES
            return None
        named = path.removeprefix("/").partition("/")[0]
        protocol = named if named in DIALECTS else usual
        key = key_of(request.headers.get_all("Authorization"), query)
        shown = shown_in(connection.transport.get_extra_info("peercert"))
        try:
            caller = caller_at(connection.remote_address, shown)
            record = await self.entrance.admission.robot(key, caller, protocol)
        except (WireError, ServeError) as error:
            self._refusals.note(connection.remote_address, error.cause)
            status = _REFUSED.get(error.code, http.HTTPStatus.SERVICE_UNAVAILABLE)
            return connection.respond(status, f"{error.code} {error.cause}\n")
        except Exception:
            _LOG.exception("the directory failed while a robot connected")
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{Code.SERVE_UNAVAILABLE} try again\n")
        leases, most = path == LEASE_PATH, min(frame_limit(record.embodiment) + _ROOM_BYTES, MAX_FRAME_BYTES)
        self._admitted[connection] = _Admitted(
            key_sha256=digest_of(key),
            robot=record,
            dialect=DIALECTS[protocol],
            protocol=protocol,
            certificate=shown,
            leases=leases,
        )
        connection.protocol.max_message_size = MAX_LEASE_BYTES if leases else most
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        admitted = self._admitted.get(connection)
        with suppress(ConnectionClosed):
            if admitted is None:
                await self._leases.command(connection)
            elif admitted.leases:
                await self._leases.keep(connection, admitted.robot, partial(self._receive, connection))
            else:
                await self._exchange(connection, admitted)

    async def _exchange(self, connection: ServerConnection, admitted: _Admitted) -> None:
        """Answer a robot's observations until its connection ends."""
        assert isinstance(connection, Connection)
        record, dialect = admitted.robot, admitted.dialect
        conversation = Conversation(
            connection=connection.id.hex,
            key_sha256=admitted.key_sha256,
            robot=record,
            protocol=admitted.protocol,
            certificate=admitted.certificate,
        )
        self._talks[connection] = conversation
        waiting = Waiting(connection, record, self._standing)
        self._enter(record.id, connection)
        connection.intake.begin()
        try:
            greeting = dialect.greet(record.id, record.embodiment)
            if greeting is not None:
                await connection.send(greeting)
            while not self._stopping:
                received = await self._receive(connection)
                if await self._answer(connection, conversation, dialect, connection.intake.message(received)):
                    waiting.begin()
                if self.entrance.exchanger.leaving and (conversation.sent_away or conversation.boundary):
                    break
            await connection.close(1001, _STOPPING)
        except ConnectionClosed:
            _LOG.info("robot %s disconnected", record.id)
        finally:
            waiting.end()
            connection.intake.end()
            self._leave(record.id, connection)

    def _enter(self, robot: str, connection: ServerConnection) -> None:
        """Count a robot's connection; the oldest ends when there are too many."""
        connections = self._open.setdefault(robot, [])
        connections.append(connection)
        if len(connections) > MAX_CONVERSATIONS:
            _LOG.warning("robot %s has more than %d connections: the oldest ends", robot, MAX_CONVERSATIONS)
            connections.pop(0).transport.abort()

    def _leave(self, robot: str, connection: ServerConnection) -> None:
        connections = self._open[robot]
        if connection in connections:
            connections.remove(connection)
        if not connections:
            del self._open[robot]

    async def _receive(self, connection: ServerConnection) -> bytes | str:
        self._idle.add(connection)
        try:
            return await connection.recv()
        finally:
            self._idle.discard(connection)

    async def _answer(
        self, connection: ServerConnection, conversation: Conversation, dialect: Dialect, frame: Frame
    ) -> bool:
        """Send what a frame deserves; with a refusal the talk ends. Returns whether the robot waits for its policy."""
        reply = await reply_to(self.entrance.exchanger, conversation, dialect, frame)
        if reply.frame is not None:
            await connection.send(reply.frame)
        if reply.ends:
            await connection.close(1011, reply.ends)
        return reply.waits
