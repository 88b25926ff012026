"""GR00T's HTTP port: `POST /act`, `POST /reset`, `GET /health`, beside the gateway and over the same exchanger.

A robot is known by its key before its body is read; of a body with more bytes than its contract needs nothing is read.
HTTP tells no clients apart, so that one key is one talk, with one question at a time.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.entrance import Entrance
from serving.exchange import Conversation
from serving.http_requests import body_of
from serving.http_server import Guests, QuietServer, settings_of
from serving.keys import key_of
from serving.ports import listening_socket
from serving.talk import reply_to
from serving.talks import Talks
from volano.errors import Code, ServeError, VolanoError, WireError
from volano.inference.protocols.gr00t_http import Gr00tHttp, body_limit, split

_LOG = logging.getLogger(__name__)
_BODY_S = 10.0
"""Longest that an observation may take to arrive."""
_PROTOCOL = "gr00t-http"


async def listen_gr00t_http(host: str, port: int, entrance: Entrance) -> "HttpListener":
    """Start a listener; port 0 takes a free one. Raises ServeError(E-SERVE-001) when the address is taken or not of
    this machine."""
    listener = HttpListener(entrance)
    listener.listen(host, port)
    return listener


class HttpListener:
    """A listening port; `stop` ends it after the answers in flight."""

    def __init__(self, entrance: Entrance) -> None:
        self._talks = Talks(entrance.admission, _PROTOCOL)
        self._exchanger = entrance.exchanger
        self._dialect = Gr00tHttp()
        self._asking: set[str] = set()
        """Talks whose question is being answered."""
        application = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/act", self._coded(self._act), methods=["POST"]),
                Route("/reset", self._coded(self._reset), methods=["POST"]),
            ]
        )
        self._guests = Guests(entrance.admission, _PROTOCOL)
        self._server = QuietServer(
            settings_of(application, self._guests, tls=entrance.tls, drain_s=entrance.drain_s, lifespan="off")
        )
        self._serving: asyncio.Task[None] | None = None
        self.port = 0
        """Port that robots connect to."""

    def listen(self, host: str, port: int) -> None:
        """Open the port."""
        made = listening_socket(host, port)
        self.port = made.getsockname()[1]
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[made]))

    async def stop(self) -> None:
        """Take no new question, let answers in flight go out, close the port."""
        if self._serving is None:
            return
        self._server.should_exit = True
        with suppress(asyncio.CancelledError):
            await self._serving
        self._serving = None

    async def _health(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "healthy"})

    async def _act(self, request: Request, conversation: Conversation) -> Response:
        body = await body_of(request, body_limit(conversation.robot.embodiment), _BODY_S, Code.WIRE_LIMIT)
        reply = await reply_to(self._exchanger, conversation, self._dialect, body)
        return _response(reply.frame)

    async def _reset(self, request: Request, conversation: Conversation) -> Response:
        del request
        conversation.boundary = True
        return JSONResponse({"status": "reset"})

    async def _talk(self, request: Request) -> Conversation:
        key = key_of(request.headers.getlist("Authorization"), "")
        return await self._talks.of(key.encode(), key, self._guests.caller(request))

    def _coded(
        self, answer: Callable[[Request, Conversation], Coroutine[Any, Any, Response]]
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Answers to known robots, one at a time, whose errors are codes."""

        async def coded(request: Request) -> Response:
            try:
                conversation = await self._talk(request)
                talk = conversation.connection
                if talk in self._asking:
                    raise ServeError(Code.SERVE_UNAVAILABLE, "another question is being answered", "ask later")
                self._asking.add(talk)
                try:
                    return await answer(request, conversation)
                finally:
                    self._asking.discard(talk)
            except (WireError, ServeError) as error:
                return self._refusal(error)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                _LOG.exception("answering %s failed", request.url.path)
                return self._refusal(ServeError(Code.SERVE_UNAVAILABLE, "the gateway failed", "see its log"))

        return coded

    def _refusal(self, error: VolanoError) -> Response:
        return _response(self._dialect.refuse(error, None).frame)


def _response(frame: bytes | str | None) -> Response:
    status, body = split(frame if isinstance(frame, bytes) else b"500 {}")
    return Response(body, status_code=status, media_type="application/json")
