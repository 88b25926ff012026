"""The port for those who watch a gateway: `/metrics`, `/healthz`, `/readyz`, in the clear and without a key.

It is apart from the robots' ports, so that it can stay on a private network, and open until the last answer has gone
out: `/healthz` says that the process lives, `/readyz` whether robots may be sent to it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.http_server import HEAD_S, Prompt, QuietServer
from serving.metrics import Metrics
from serving.ports import listening_socket

_MAX_CONNECTIONS = 64


class Watch:
    """A listening port, until `stop`."""

    def __init__(self, metrics: Metrics, why_not: Callable[[], str], *, head_s: float = HEAD_S) -> None:
        """`why_not` says why no robot should be sent here, empty when one may; who says nothing for `head_s` is
        disconnected."""
        self._metrics = metrics
        self._why_not = why_not
        routes = [Route("/healthz", self._health), Route("/readyz", self._ready), Route("/metrics", self._tell)]
        self._server = QuietServer(
            uvicorn.Config(
                Starlette(routes=routes),
                lifespan="off",
                log_config=None,
                http=partial(Prompt, head_s),  # type: ignore[arg-type]
                ws="none",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=round(HEAD_S),
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.port = 0
        """Port that it listens on."""

    def listen(self, host: str, port: int) -> None:
        """Open the port, 0 for a free one; raises ServeError(E-SERVE-001) when it cannot be had."""
        made = listening_socket(host, port)
        self.port = made.getsockname()[1]
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[made]))

    async def stop(self) -> None:
        """Close the port."""
        if self._serving is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._serving

    async def _health(self, request: Request) -> Response:
        del request
        return PlainTextResponse("OK\n")

    async def _ready(self, request: Request) -> Response:
        del request
        why = self._why_not()
        return PlainTextResponse(f"{why or 'OK'}\n", status_code=503 if why else 200)

    async def _tell(self, request: Request) -> Response:
        del request
        text = await asyncio.to_thread(partial(self._metrics.text, time.time(), ready=not self._why_not()))
        return Response(text, media_type=CONTENT_TYPE_LATEST)
