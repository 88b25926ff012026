"""The HTTP server of every door that speaks it: sockets are counted by address, one that says nothing is closed, and
whoever shows a certificate is known by it.

Of a request no more is read than its head before the application asks; a head that does not come in time, at the
beginning or between two requests, ends its connection.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.admission import Admission, Caller, Named, caller_at
from serving.tls import Tls, shown_in

HEAD_S = 10.0
"""Longest silence before a request's head is whole."""
_MAX_CONNECTIONS = 512


class Guests:
    """Whoever is connected to one port."""

    def __init__(self, admission: Admission[Named], protocol: str, *, head_s: float = HEAD_S) -> None:
        self.admission = admission
        self.protocol = protocol
        self.head_s = head_s
        self.callers: dict[tuple[str, int], Caller] = {}
        """By a socket's peer name."""

    def caller(self, request: Request) -> Caller:
        """Who asks."""
        client, nobody = request.client, Caller(address="")
        return self.callers.get((client.host, client.port), nobody) if client is not None else nobody


class Prompt(H11Protocol):
    """A connection that ends when a request's head does not come in time."""

    def __init__(self, head_s: float, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._head_s = head_s
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def handle_events(self) -> None:
        super().handle_events()
        if self._waiting is not None and self._is_answering():
            self._waiting.cancel()
            self._waiting = None

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        """Wait for a head, for so long."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self._head_s, self.transport.abort)


class _Connection(Prompt):
    """One of a port's guests."""

    def __init__(self, guests: Guests, *arguments: Any, **settings: Any) -> None:
        super().__init__(guests.head_s, *arguments, **settings)
        self._guests = guests
        self._peer: Any = None
        self._counted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peername")
        self._counted = self._guests.admission.enter(self._peer, self._guests.protocol)
        if not self._counted:
            transport.abort()
        elif self.client is not None:
            self._guests.callers[self.client] = caller_at(self._peer, shown_in(transport.get_extra_info("peercert")))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._counted:
            self._guests.admission.leave(self._peer, self._guests.protocol)
            self._counted = False
        if self.client is not None:
            self._guests.callers.pop(self.client, None)


class QuietServer(uvicorn.Server):
    """Leaves the signals to the process that it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def settings_of(
    application: ASGIApp,
    guests: Guests,
    *,
    tls: Tls | None,
    drain_s: float,
    lifespan: Literal["auto", "off"] = "auto",
) -> uvicorn.Config:
    """A server's settings; `drain_s`: how long answers under way may take at the end."""
    return uvicorn.Config(
        application,
        lifespan=lifespan,
        log_config=None,
        http=partial(_Connection, guests),  # type: ignore[arg-type]
        ssl_context_factory=None if tls is None else (lambda _settings, _usual: tls.context),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=round(HEAD_S),
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
