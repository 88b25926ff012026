"""One connection to a gateway, kept by a thread of its own, so that a control loop waits exactly as long as it said.

Name look-up, handshake, sending and reconnecting all happen in that thread. One question is in flight at a time, and
what comes back but for statuses is its answer: a connection whose answer came late, or that answered unasked, is
dropped and never read again.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from volano.errors import Code, ServeError, VolanoError, WireError
from volano.inference.asking import Asker
from volano.inference.protocols.arrays import MAX_FRAME_BYTES
from volano.inference.protocols.own import NAME

_LOG = logging.getLogger(__name__)
_OPEN_S = 5.0
_CLOSE_S = 0.2
_LOOK_S = 0.1
"""How often an idle connection is looked at, to notice a gateway that went away."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LATE = f"{Code.SERVE_TIMEOUT} no answer in time"
_BUSY = "an answer is under way"
_STILL_CONNECTING = f"{Code.SERVE_TIMEOUT} still connecting"


@dataclass(kw_only=True)
class _Exchange:
    """One frame out, one frame back."""

    frame: bytes
    deadline: float
    done: bool = False
    reply: bytes | str = ""


class Link:
    """A connection that comes back by itself. One caller at a time, by `exchange`, or by `begin` and `take`; none of
    them raises for a network's failure."""

    def __init__(
        self,
        url: str,
        key: str,
        asker: Asker,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is the gateway's, without the path of the wire; `asker` says hello and hears what comes; `tls` is for
        `wss://`, by default whom the machine trusts. Connecting starts now."""
        self._tls = tls
        parts = urlsplit(url)
        self._url = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{NAME}", parts.query, ""))
        self._headers = {"Authorization": f"Api-Key {key}"}
        self._asker = asker
        self._clock = clock
        self._random = random
        self._condition = threading.Condition()
        self._state: Literal["connecting", "ready", "down", "closed"] = "connecting"
        self._connection: ClientConnection | None = None
        self._pending: _Exchange | None = None
        self._begun: _Exchange | None = None
        """Whose answer was not taken yet."""
        self.number = 0
        """Of the connection; one that is made anew has another."""
        self._failures = 0
        self._reason = ""
        """Why there is no connection."""
        self._thread = threading.Thread(target=self._run, name="volano-link", daemon=True)
        self._thread.start()

    def settled(self, timeout_s: float) -> int:
        """Number of the connection, after waiting so long at most while one is made."""
        deadline = self._clock() + timeout_s
        with self._condition:
            while self._state == "connecting" and (left := deadline - self._clock()) > 0:
                self._condition.wait(left)
            return self.number

    def exchange(self, frame: bytes, timeout_s: float) -> bytes | str:
        """Send a frame and return its answer, or a text that says why there is none: the server's refusal, or our
        own reason after at most `timeout_s`. Returns at once while the link waits to connect again."""
        deadline = self._clock() + timeout_s
        with self._condition:
            while self._state == "connecting" and (left := deadline - self._clock()) > 0:
                self._condition.wait(left)
            if self._state != "ready":
                return _STILL_CONNECTING if self._state == "connecting" else self._reason
            exchange = self._pending = _Exchange(frame=frame, deadline=deadline)
            self._condition.notify_all()
            while not exchange.done and (left := deadline - self._clock()) > 0:
                self._condition.wait(left)
            if not exchange.done:
                self._abandon()
                return _LATE
            return exchange.reply

    def begin(self, frame: bytes, timeout_s: float) -> str:
        """Send a frame without waiting for anything. Returns why it cannot be sent now, or an empty text."""
        with self._condition:
            if self._state != "ready":
                return _STILL_CONNECTING if self._state == "connecting" else self._reason
            if self._begun is not None:
                return _BUSY
            self._begun = self._pending = _Exchange(frame=frame, deadline=self._clock() + timeout_s)
            self._condition.notify_all()
            return ""

    def take(self) -> bytes | str | None:
        """What `exchange` would have returned for the frame begun last, once; None while there is nothing to take."""
        with self._condition:
            exchange = self._begun
            if exchange is None or (not exchange.done and self._clock() < exchange.deadline):
                return None
            self._begun = None
            if not exchange.done:
                self._abandon()
                return _LATE
            return exchange.reply

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty while there is one or the first is being made."""
        with self._condition:
            return self._reason if self._state == "down" else ""

    def close(self) -> None:
        """End the connection and the thread."""
        with self._condition:
            self._state = "closed"
            self._abort()
            self._condition.notify_all()
        self._thread.join(timeout=_OPEN_S)

    def _abandon(self) -> None:
        self._pending = None
        self._state = "down"
        self._reason = _LATE
        self._abort()

    def _abort(self) -> None:
        """Wake the thread out of any wait on the socket."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._is_closed():
            try:
                self._connect_and_serve()
            except (
                Exception
            ) as error:  # the thread's edge: whatever happened, the robot falls back and we connect again
                self._set_down(_reason(error))
            self._pause()

    def _connect_and_serve(self) -> None:
        with connect(
            self._url,
            ssl=self._tls,
            additional_headers=self._headers,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            max_size=MAX_FRAME_BYTES,
        ) as connection:
            connection.send(self._asker.hello())
            self._asker.greeted(_binary(connection.recv(timeout=_OPEN_S)))
            with self._condition:
                if self._state == "closed":
                    return
                self._state, self._connection = "ready", connection
                self.number += 1
                self._condition.notify_all()
            try:
                while (exchange := self._next(connection)) is not None:
                    self._carry_out(connection, exchange)
            finally:
                with self._condition:
                    self._connection = None

    def _next(self, connection: ClientConnection) -> _Exchange | None:
        """Wait for something to send, and hear meanwhile what the gateway tells; None when the link was closed or its
        exchange abandoned."""
        while True:
            self._hear_unasked(connection)
            with self._condition:
                if self._state != "ready":
                    return None
                if self._pending is not None:
                    return self._pending
                if connection.state is not State.OPEN:
                    why = connection.close_reason or connection.close_code
                    raise ServeError(Code.SERVE_UNAVAILABLE, f"the gateway ended the connection: {why}", "check it")
                self._condition.wait(_LOOK_S)

    def _hear_unasked(self, connection: ClientConnection) -> None:
        with suppress(TimeoutError, ConnectionClosed):
            while self._asker.heard(_binary(connection.recv(timeout=0))) == "status":
                pass
            raise WireError(Code.WIRE_FRAME, "the server answered unasked", "use a server that answers in lock-step")

    def _carry_out(self, connection: ClientConnection, exchange: _Exchange) -> None:
        connection.send(exchange.frame)
        kind = "status"
        while kind == "status":
            reply = _binary(connection.recv(timeout=max(exchange.deadline - self._clock(), 0)))
            kind = self._asker.heard(reply)
        with self._condition:
            if self._pending is exchange:
                self._pending = None
                exchange.reply, exchange.done = reply, True
                if kind == "answer":
                    self._failures = 0
                self._condition.notify_all()

    def _set_down(self, reason: str) -> None:
        with self._condition:
            if self._pending is not None:
                self._pending.reply, self._pending.done, self._pending = reason, True, None
            if self._state in {"connecting", "ready"}:
                if reason != self._reason:
                    _LOG.warning("no gateway at %s: %s", self._url, reason)
                self._state, self._reason = "down", reason
            self._condition.notify_all()

    def _pause(self) -> None:
        length = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S) * (0.5 + self._random() / 2)
        until = self._clock() + length
        with self._condition:
            self._failures = min(self._failures + 1, 16)
            while self._state != "closed" and (left := until - self._clock()) > 0:
                self._condition.wait(left)
            if self._state != "closed":
                self._state = "connecting"
                self._condition.notify_all()

    def _is_closed(self) -> bool:
        with self._condition:
            return self._state == "closed"


def _binary(frame: bytes | str) -> bytes:
    if isinstance(frame, str):
        raise ServeError(Code.SERVE_UNAVAILABLE, frame[:200], "see the gateway's log")
    return frame


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _LATE
    if isinstance(error, VolanoError):
        return f"{error.code} {error.cause}"
    if isinstance(error, InvalidStatus):
        code = Code.WIRE_AUTH if error.response.status_code == 401 else Code.SERVE_UNAVAILABLE
        return f"{code} the gateway refused the connection: HTTP {error.response.status_code}"
    return f"{Code.SERVE_UNAVAILABLE} {type(error).__name__}: {error}"
