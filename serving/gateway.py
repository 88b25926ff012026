"""The robot gateway: an asyncio process that owns the robots' sockets and speaks openpi's wire to unmodified clients.

A robot is known by its key before a byte of it is decoded. Its frames are answered in lock-step and within a
deadline; `/healthz` is answered whatever the policies do. To the outside go codes and one-line causes, never a
traceback: `E-SERVE-…  hold: …` when there is no action now (the connection stays), anything else with close 1011.
Memory is bounded per robot: by its contract's frame, by what it leaves unread, and by its number of connections.
"""

import asyncio
import hashlib
import http
import logging
import time
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse

from serving.exchange import Conversation, Exchanger
from serving.routes import AccessLog, Act, Directory, RobotRecord, ShadowJournal
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.openpi import MAX_FRAME_BYTES, pack
from volano.inference.session import PROTOCOL, frame_limit

_LOG = logging.getLogger(__name__)
_PING_S = 20.0
_PING_PATIENCE_S = 60.0
_KEY_SCHEME = "Api-Key "
_MAX_KEY = 512
_END_S = 1.0
"""For what was aborted to end by itself."""
_STOPPING = "the gateway is stopping"
_ROOM_BYTES = 1 << 20
"""A frame that passes its contract by less is answered with a code; of a larger one nothing more is read."""
_MAX_UNREAD_BYTES = 1 << 20
"""Answers and pongs that a robot may leave unread."""
_MAX_CONNECTIONS = 8
"""Of one robot at a time: a robot that lost its network comes back while the old connection still looks alive."""
_REFUSAL_LOG_S = 1.0
"""Strangers that knock all the time fill no log."""


async def serve(
    host: str,
    port: int,
    *,
    directory: Directory,
    act: Act,
    access: AccessLog,
    shadow: ShadowJournal,
    timeout_s: float,
) -> "Gateway":
    """Start a gateway; port 0 takes a free one. `timeout_s` is the longest that a policy may think about one answer
    before the robot is told to hold. `access` and `shadow` are called in the event loop and must not block."""
    exchanger = Exchanger(directory=directory, act=act, access=access, shadow=shadow, timeout_s=timeout_s)
    gateway = Gateway(directory, exchanger, drain_s=timeout_s + 1)
    await gateway.listen(host, port)
    return gateway


class _Connection(ServerConnection):
    """Ends when its robot sends and never reads: pings are answered without asking whether anyone listens."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            _LOG.warning("dropped %s: it does not read what it is sent", self.remote_address)
            self.transport.abort()


class Gateway:
    """A listening gateway; `stop` ends it after the answers in flight."""

    def __init__(self, directory: Directory, exchanger: Exchanger, *, drain_s: float) -> None:
        self._directory = directory
        self._exchanger = exchanger
        self._drain_s = drain_s
        self._robots: WeakKeyDictionary[ServerConnection, tuple[str, RobotRecord]] = WeakKeyDictionary()
        self._idle: set[ServerConnection] = set()
        """Connections that wait for their robot's next frame."""
        self._open: dict[str, list[ServerConnection]] = {}
        """Connections by robot, oldest first."""
        self._refused = 0
        """Connections refused since the log said so."""
        self._refusal_logged = -_REFUSAL_LOG_S
        self._stopping = False
        self._server: Server | None = None
        self.port = 0
        """Port that the gateway listens on."""

    async def listen(self, host: str, port: int) -> None:
        """Open the socket; raises ServeError(E-SERVE-001) when the address is taken or not of this machine."""
        try:
            self._server = await serve_websockets(
                self._converse,
                host,
                port,
                process_request=self._admit,
                create_connection=_Connection,
                compression=None,
                max_size=MAX_FRAME_BYTES,
                max_queue=1,
                ping_interval=_PING_S,
                ping_timeout=_PING_PATIENCE_S,
                server_header=None,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServeError(
                Code.SERVE_UNAVAILABLE, f"cannot listen on {host}:{port}: {reason}", "free the port or name another"
            ) from error
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Take no new robot, let answers in flight go out, close every connection with 1001, end shadows."""
        if self._server is None:
            return
        self._stopping = True
        self._server.close(close_connections=False)
        try:
            async with asyncio.timeout(self._drain_s):
                await asyncio.gather(*(connection.close(1001, _STOPPING) for connection in self._idle))
                await self._server.wait_closed()
        except TimeoutError:  # a robot that never answers the closing handshake delays nobody
            for connection in [one for connections in self._open.values() for one in connections]:
                connection.transport.abort()
        await self._exchanger.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._server.wait_closed()

    async def _admit(self, connection: ServerConnection, request: HttpRequest) -> HttpResponse | None:
        """Answer health probes; admit a robot by its key, or refuse it before anything it sends is read."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        values = request.headers.get_all("Authorization")
        text = values[0] if len(values) == 1 else ""
        key = text.removeprefix(_KEY_SCHEME) if text.startswith(_KEY_SCHEME) and len(text) <= _MAX_KEY else ""
        digest = hashlib.sha256(key.encode()).hexdigest()
        try:
            record = await asyncio.to_thread(self._directory.robot, digest) if key else None
        except Exception:
            _LOG.exception("the directory failed while a robot connected")
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{Code.SERVE_UNAVAILABLE} try again\n")
        if record is None:
            self._log_refusal(connection)
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, f"{Code.WIRE_AUTH} unknown or missing key\n")
        self._robots[connection] = (digest, record)
        connection.protocol.max_message_size = min(frame_limit(record.embodiment) + _ROOM_BYTES, MAX_FRAME_BYTES)
        return None

    def _log_refusal(self, connection: ServerConnection) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._refusal_logged >= _REFUSAL_LOG_S:
            last = connection.remote_address
            _LOG.warning("refused %d connections: unknown or missing key, the last from %s", self._refused, last)
            self._refused, self._refusal_logged = 0, now

    async def _converse(self, connection: ServerConnection) -> None:
        digest, record = self._robots[connection]
        conversation = Conversation(connection=connection.id.hex, key_sha256=digest, robot=record)
        self._enter(record.id, connection)
        try:
            await connection.send(pack(_greeting(record)))
            while not self._stopping:
                frame = await self._receive(connection)
                await self._answer(connection, conversation, frame)
            await connection.close(1001, _STOPPING)
        except ConnectionClosed:
            _LOG.info("robot %s disconnected", record.id)
        finally:
            self._leave(record.id, connection)

    def _enter(self, robot: str, connection: ServerConnection) -> None:
        """Count a robot's connection; the oldest ends when there are too many."""
        connections = self._open.setdefault(robot, [])
        connections.append(connection)
        if len(connections) > _MAX_CONNECTIONS:
            _LOG.warning("robot %s has more than %d connections: the oldest ends", robot, _MAX_CONNECTIONS)
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

    async def _answer(self, connection: ServerConnection, conversation: Conversation, frame: bytes | str) -> None:
        """Send exactly one frame: the answer, a text to hold, or a text that refuses, with which the talk ends."""
        try:
            await connection.send(await self._exchanger.answer(conversation, frame))
        except ServeError as error:
            await connection.send(f"{error.code}  hold: {error.cause}")
        except (WireError, ContractError) as error:
            _LOG.warning("refused robot %s: %s", conversation.robot.id, error.cause)
            await connection.send(f"{error.code}  {error.cause}")
            await connection.close(1011, str(error.code))
        except VolanoError as error:  # ours, not the robot's: it may go on when a ledger that was busy is not
            _LOG.exception("answering robot %s failed", conversation.robot.id)
            await connection.send(f"{Code.SERVE_UNAVAILABLE}  hold: {error.code}, see the gateway's log")
        except ConnectionClosed:
            raise
        except Exception:
            _LOG.exception("answering robot %s failed", conversation.robot.id)
            await connection.send(f"{Code.SERVE_UNAVAILABLE}  hold: the gateway failed")


def _greeting(record: RobotRecord) -> dict[str, Any]:
    """The metadata that the server speaks first: scalars and texts only."""
    robot = record.embodiment
    return {
        "protocol": PROTOCOL,
        "robot": record.id,
        "embodiment": robot.fingerprint,
        "tag": robot.tag,
        "horizon": robot.horizon,
        "execute": robot.execute,
        "channels": len(robot.action),
    }
