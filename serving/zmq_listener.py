"""GR00T's port: many unmodified REQ clients of ZeroMQ ask at once, each over a connection of its own that we read.

A robot is known by the token inside its message: the bounded envelope is decoded, the token looked up, and only then an
array touched. A peer has one question at a time; what it sends meanwhile is told to hold. Connections are counted, and
end when they say nothing; of those that have not shown a key there are few, and the oldest makes room for the newest.
"""

import asyncio
import logging
import secrets
import socket
from contextlib import suppress
from functools import partial
from typing import Any, cast

from serving.admission import Caller, caller_at
from serving.entrance import Entrance
from serving.ports import listening_socket
from serving.talk import reply_to
from serving.talks import Talks
from serving.tls import HANDSHAKE_S, shown_in
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code, ServeError, VolanoError, WireError
from volano.inference.protocols.arrays import MAX_FRAME_BYTES
from volano.inference.protocols.gr00t import UNAUTHORIZED, Gr00t, token_of
from volano.inference.protocols.zmtp import GREETING, Heard, Hearing, reply_of
from volano.inference.session import frame_limit

_LOG = logging.getLogger(__name__)
_MAX_ASKED = 256
"""Requests being answered at a time, of all peers."""
_MAX_STRANGERS = 64
"""Connections that have not shown a robot's key yet."""
_MAX_STRANGERS_ASKED = 16
"""Of their requests at a time: they fill no place that robots need."""
_MAX_BYTES = min(max(map(frame_limit, SHIPPED.values())) + (1 << 20), MAX_FRAME_BYTES)
"""Of a message, whose sender is not known before it is here: what the largest contract needs, and a little more."""
_MAX_UNREAD_BYTES = 1 << 20
_WHOLE_S = 10.0
"""Longest that a greeting or a message may take to arrive."""
_STRANGER_S = 60.0
_LOOK_S = 1.0
_KEEPALIVE_S = 20
_LINGER_S = 0.5
"""For answers on their way when the port closes."""


async def listen_gr00t(host: str, port: int, entrance: Entrance, *, modality_text: bool = False) -> "ZmqListener":
    """Start a listener; port 0 takes a free one. `modality_text`: modalities are told as N1.5 reads them. Raises
    ServeError(E-SERVE-001) when the address is taken or not of this machine."""
    listener = ZmqListener(entrance, Gr00t(modality_text=modality_text), "gr00t-n1.5" if modality_text else "gr00t")
    await listener.listen(host, port)
    return listener


class ZmqListener:
    """A listening port; `stop` ends it after the answers in flight."""

    def __init__(self, entrance: Entrance, dialect: Gr00t, protocol: str, *, max_bytes: int = _MAX_BYTES) -> None:
        """`max_bytes`: what a message may have; of a longer one nothing is read, and its client is cut off."""
        self.entrance = entrance
        self.protocol = protocol
        self.max_bytes = max_bytes
        self._talks = Talks(entrance.admission, protocol)
        self._dialect = dialect
        self._guests: dict[bytes, _Guest] = {}
        """By peer, the oldest first."""
        self._asked: dict[bytes, asyncio.Task[None]] = {}
        """What is being answered, by peer."""
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        self.port = 0
        """Port that robots connect to."""

    async def listen(self, host: str, port: int) -> None:
        """Open the port."""
        made = listening_socket(host, port)
        self.port = made.getsockname()[1]
        tls = self.entrance.tls
        secured: dict[str, Any] = {"ssl": tls.context, "ssl_handshake_timeout": HANDSHAKE_S} if tls is not None else {}
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(partial(_Guest, self), sock=made, **secured)
        self._looking = asyncio.ensure_future(self._look())

    async def stop(self) -> None:
        """Hear nothing new, let answers in flight go out, close the port."""
        if self._server is None or self._looking is None:
            return
        self._stopping = True
        self._server.close()
        self._server = None
        self._looking.cancel()
        if self._asked:
            _, late = await asyncio.wait(self._asked.values(), timeout=self.entrance.drain_s)
            for task in late:
                task.cancel()
        for guest in list(self._guests.values()):
            guest.transport.close()
        if self._guests:
            await asyncio.sleep(_LINGER_S)
        for guest in list(self._guests.values()):
            guest.transport.abort()

    def come(self, guest: "_Guest") -> None:
        """A connection was made; of too many strangers the oldest ends."""
        self._guests[guest.peer] = guest
        strangers = [one for peer, one in self._guests.items() if peer not in self._talks]
        for one in strangers[:-_MAX_STRANGERS]:
            one.transport.abort()

    def go(self, guest: "_Guest") -> None:
        """A connection is gone."""
        self._guests.pop(guest.peer, None)
        self._talks.forget(guest.peer)

    def hear(self, guest: "_Guest", heard: Heard) -> None:
        """Answer what came."""
        if heard.say:
            guest.send(heard.say)
        elif heard.dropped:
            _LOG.warning("dropped a message of %s: no question of a REQ socket", guest.caller.address)
        elif heard.question is None:
            pass
        elif guest.peer in self._asked or self._is_full_for(guest.peer):
            guest.send(reply_of(self._hold("other questions are being answered")))
        else:
            self._asked[guest.peer] = asyncio.ensure_future(self._answer(guest, heard.question))

    def _is_full_for(self, peer: bytes) -> bool:
        if peer in self._talks:
            return self._stopping or len(self._asked) >= _MAX_ASKED
        return self._stopping or sum(one not in self._talks for one in self._asked) >= _MAX_STRANGERS_ASKED

    async def _look(self) -> None:
        """End connections that keep something unfinished, and strangers that say nothing."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now = asyncio.get_running_loop().time()
            for peer, guest in list(self._guests.items()):
                stranger = peer not in self._talks and peer not in self._asked
                longest = _WHOLE_S if guest.hearing.is_amid else _STRANGER_S if stranger else None
                if longest is not None and now - guest.since > longest:
                    guest.transport.abort()

    async def _answer(self, guest: "_Guest", frame: bytes) -> None:
        try:
            guest.send(reply_of(await self._reply(guest, frame)))
        finally:
            del self._asked[guest.peer]

    async def _reply(self, guest: "_Guest", frame: bytes) -> bytes:
        try:
            known = guest.peer in self._talks
            token = token_of(frame) if known else await self.entrance.admission.apart(partial(token_of, frame))
        except WireError as error:
            self.entrance.admission.fail(guest.caller)
            return self._refusal(error)
        except ServeError as error:
            return self._refusal(error)
        try:
            conversation = await self._talks.of(guest.peer, token, guest.caller)
        except WireError:
            return UNAUTHORIZED
        except ServeError as error:
            return self._refusal(error)
        except Exception:
            _LOG.exception("the directory failed while a robot asked")
            return self._hold("try again")
        reply = await reply_to(self.entrance.exchanger, conversation, self._dialect, frame)
        return _bytes(reply.frame)

    def _hold(self, cause: str) -> bytes:
        return self._refusal(ServeError(Code.SERVE_UNAVAILABLE, cause, "ask later"))

    def _refusal(self, error: VolanoError) -> bytes:
        return _bytes(self._dialect.refuse(error, None).frame)


class _Guest(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, listener: ZmqListener) -> None:
        self.peer = secrets.token_bytes(16)
        self.hearing = Hearing(listener.max_bytes)
        self.caller = Caller(address="")
        self.since = asyncio.get_running_loop().time()
        """When it was last not amid something."""
        self.transport: asyncio.Transport
        self._listener = listener
        self._counted: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, and speak first."""
        self.transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        if not self._listener.entrance.admission.enter(name, self._listener.protocol):
            self.transport.abort()
            return
        self._counted = name
        self.caller = caller_at(name, shown_in(transport.get_extra_info("peercert")))
        _keep_alive(transport.get_extra_info("socket"))
        self._listener.come(self)
        self.send(GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        if self._counted is not None:
            self._listener.entrance.admission.leave(self._counted, self._listener.protocol)
            self._listener.go(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        del sizehint
        return self.hearing.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came; what is no question of a REQ socket, or too large, ends the connection."""
        began = self.hearing.is_amid
        try:
            found = self.hearing.take(nbytes)
        except WireError as error:
            _LOG.warning("cut off %s: %s", self.caller.address, error.cause)
            self._listener.entrance.admission.fail(self.caller)
            self.transport.abort()
            return
        if found or not began:
            self.since = asyncio.get_running_loop().time()
        for heard in found:
            self._listener.hear(self, heard)

    def send(self, data: bytes) -> None:
        """Send; who does not read is cut off."""
        if not self.transport.is_closing():
            self.transport.write(data)
            if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
                self.transport.abort()


def _keep_alive(made: socket.socket) -> None:
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bytes(frame: bytes | str | None) -> bytes:
    """A REQ client waits for an answer, whatever it is."""
    return frame.encode() if isinstance(frame, str) else frame or b""
