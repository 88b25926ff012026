"""The platform's door for uploads, a process of its own so that no bulk delays a robot's next action.

    python -m serving.uploads --home DIR [--port N] [--host H] [--store URL] [--reached URL] [--ledger URL]

A robot is known by its key, asks `POST /uploads` what is missing of a manifest, and is answered with addresses that
take exactly the missing bytes for some minutes, or with a signed receipt. Where the store is S3 the bytes go there
directly; into a folder the door puts them itself. To the outside go codes and one-line causes. Kill it at any time: it
remembers nothing.
"""

import argparse
import asyncio
import hashlib
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.relay import Relay
from volano.data.intake import Allowance, Intake, read_offer
from volano.data.pieces import Piece
from volano.data.receipt import PRIVATE_KEY, PUBLIC_KEY
from volano.ending import coded_ending
from volano.errors import Code, DataError, LedgerError, ServeError, StorageError, VolanoError, WireError
from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.signing import generate
from volano.storage.open import open_store
from volano.storage.parts import PartStore, put_slot

_LOG = logging.getLogger("serving.uploads")
ADDRESS_S = 900
"""How long an address takes its bytes."""
_MAX_QUESTION_BYTES = 1 << 20
_BODY_S = 300.0
"""Longest that one body may take to arrive."""
_MAX_BODIES, _MAX_OF_ROBOT = 64, 2
"""Pieces in memory at a time where the door puts them itself, all and of one robot."""
_MAX_CONNECTIONS = 512
_THREADS = 32
"""For questions and pieces; each robot has one question and two pieces at a time."""
_SWEEP_S = 3600.0
_KEY_SCHEME = "Api-Key "
_MAX_KEY = 512
_STATUS = {
    Code.WIRE_AUTH: 401,
    Code.DATA_ROBOT: 403,
    Code.DATA_ATTEMPT: 409,
    Code.STORE_PARTS: 409,
    Code.DATA_SIZE: 413,
    Code.DATA_QUOTA: 429,
    Code.WIRE_LIMIT: 429,
    Code.SERVE_UNAVAILABLE: 503,
}


class Door:
    """The HTTP application over an intake."""

    def __init__(
        self,
        store: PartStore,
        ledger: Ledger,
        intake: Intake,
        *,
        reached: PartStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reached` is the same store under the URL by which robots reach it, where that is another; `clock` gives Unix
        time in seconds."""
        self._store = store
        self._reached = reached or store
        self._ledger = ledger
        self._intake = intake
        self._clock = clock
        self._relay = Relay(secrets.token_bytes(32))
        self._carried: Counter[str] = Counter()
        """Pieces in memory, by robot."""
        self._asking: set[str] = set()
        """Robots whose question is being answered."""
        routes = [
            Route("/healthz", self._health),
            Route("/uploads", self._coded(self._take), methods=["POST"]),
            Route("/pieces/{token}", self._coded(self._put), methods=["PUT"]),
        ]
        self.application = Starlette(routes=routes, lifespan=self._lifespan)

    async def _health(self, request: Request) -> Response:
        del request
        return PlainTextResponse("OK\n")

    async def _take(self, request: Request) -> Response:
        robot = await asyncio.to_thread(self._robot, request)
        offer = read_offer(await _body(request, _MAX_QUESTION_BYTES))
        now = self._clock()
        if robot in self._asking:
            raise ServeError(Code.SERVE_UNAVAILABLE, "another question of this robot is being answered", "ask later")
        self._asking.add(robot)
        try:
            found = await asyncio.to_thread(self._intake.take, robot, offer, now)
        finally:
            self._asking.discard(robot)
        if isinstance(found, bytes):
            _LOG.info("robot %s: %s is here", robot, offer.manifest.upload_key)
            return JSONResponse({"receipt": found.decode()})
        return JSONResponse({"pieces": await asyncio.to_thread(self._addressed, robot, found, now)})

    async def _put(self, request: Request) -> Response:
        robot, slot = self._relay.read(request.path_params["token"], self._clock())
        if self._carried[robot] >= _MAX_OF_ROBOT or self._carried.total() >= _MAX_BODIES:
            raise WireError(Code.WIRE_LIMIT, "too many pieces at a time", "send one after another")
        self._carried[robot] += 1
        try:
            data = await _body(request, slot.size)
            await asyncio.to_thread(put_slot, self._store, slot, data)
        finally:
            self._carried[robot] -= 1
        return JSONResponse({})

    def _robot(self, request: Request) -> str:
        """Who asks; raises WireError(E-WIRE-002) when nobody knows."""
        values = request.headers.getlist("Authorization")
        text = values[0] if len(values) == 1 else ""
        if text.startswith(_KEY_SCHEME) and len(text) <= _MAX_KEY:
            digest = hashlib.sha256(text.removeprefix(_KEY_SCHEME).encode()).hexdigest()
            robot = self._ledger.robot_by_key_sha256(digest)
            if robot is not None:
                return robot.id
        raise WireError(Code.WIRE_AUTH, "unknown or missing key", "enroll the robot, and give it its key")

    def _addressed(self, robot: str, pieces: list[Piece], now: float) -> list[dict[str, Any]]:
        """Pieces as robots are told of them."""
        told = []
        for piece in pieces:
            address = self._reached.parts.address(piece.slot, ADDRESS_S)
            url = address.url if address else self._relay.path(robot, piece.slot, now + ADDRESS_S)
            headers = dict(address.headers) if address else {}
            told.append(
                {"name": piece.name, "start": piece.start, "size": piece.slot.size, "url": url, "headers": headers}
            )
        return told

    def _coded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Answers whose errors are codes."""

        async def coded(request: Request) -> Response:
            try:
                return await answer(request)  # type: ignore[no-any-return]
            except VolanoError as error:
                return _refusal(error)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                _LOG.exception("answering %s failed", request.url.path.split("/")[1])
                return JSONResponse(_told(Code.SERVE_UNAVAILABLE, "the door failed, see its log"), status_code=500)

        return coded

    @asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncIterator[None]:
        del application
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "uploads"))
        sweeping = asyncio.ensure_future(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()

    async def _sweep(self) -> None:
        """Throw away, every hour, what robots began and never finished."""
        while True:
            try:
                removed = await asyncio.to_thread(self._store.parts.remove_abandoned, self._clock())
            except VolanoError as error:
                _LOG.warning("unfinished objects stay: %s", error)
            else:
                if removed:
                    _LOG.info("removed %d unfinished objects that were abandoned", removed)
            await asyncio.sleep(_SWEEP_S)


async def _body(request: Request, limit: int) -> bytes:
    """A request's body; raises WireError(E-WIRE-001) before more than `limit` bytes, or after too long."""
    too_large = WireError(Code.WIRE_FRAME, f"the body has more than {limit} bytes, or none is stated", "send less")
    length = request.headers.get("Content-Length", "")
    if not length.isdecimal() or len(length) > 12 or int(length) > limit:
        raise too_large
    found = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                found += piece
                if len(found) > limit:
                    raise too_large
    except TimeoutError as error:
        raise WireError(Code.WIRE_FRAME, "the body came too slowly", "send it again") from error
    return bytes(found)


def _refusal(error: VolanoError) -> Response:
    """What a robot is told: causes of ours may name places."""
    if isinstance(error, StorageError | LedgerError) and error.code is not Code.STORE_PARTS:
        _LOG.error("the platform failed a robot: %s", error)
        told = _told(Code.SERVE_UNAVAILABLE, f"{error.code}, see the door's log")
        return JSONResponse(told, status_code=503)
    told = {"code": error.code, "cause": error.cause, "fix": error.fix}
    status = _STATUS.get(error.code, 400 if isinstance(error, DataError | WireError) else 500)
    return JSONResponse(told, status_code=status)


def _told(code: Code, cause: str) -> dict[str, str]:
    return {"code": code, "cause": cause, "fix": "send it again later"}


def read_settings(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m serving.uploads", description="Take robots' uploads."
    )
    allowed = Allowance()
    parser.add_argument("--home", type=Path, required=True, help="folder with store/, ledger.db and keys/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8701, help="0 takes a free one")
    parser.add_argument("--store", default="", help="URL of the object store; default: HOME/store")
    parser.add_argument("--reached", default="", help="the same store's URL as robots reach it; default: --store")
    parser.add_argument("--ledger", default="", help="URL of the ledger; default: HOME/ledger.db")
    parser.add_argument("--episode-bytes", type=int, default=allowed.episode_bytes, help="largest episode")
    parser.add_argument("--day-bytes", type=int, default=allowed.day_bytes, help="of one robot in 24 hours")
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """The socket that robots connect to, 0 for a free port; raises ServeError(E-SERVE-001) when it cannot be had."""
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServeError(
            Code.SERVE_UNAVAILABLE, f"cannot listen on {host}:{port}: {reason}", "free the port or name another"
        ) from error


def server(door: Door) -> uvicorn.Server:
    """A server that is not yet started."""
    return uvicorn.Server(
        uvicorn.Config(
            door.application,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=30,
        )
    )


def main() -> None:
    """Run the process until SIGTERM; exits with the error's code when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = read_settings()
    home = settings.home.resolve()
    with coded_ending(_LOG), listen(settings.host, settings.port) as socket_of_robots:
        store = open_store(settings.store or str(home / "store"))
        key = generate(home / "keys", PRIVATE_KEY, PUBLIC_KEY)
        allowance = Allowance(episode_bytes=settings.episode_bytes, day_bytes=settings.day_bytes)
        with open_ledger(settings.ledger or f"sqlite:///{home / 'ledger.db'}") as ledger:
            reached = open_store(settings.reached) if settings.reached else None
            door = Door(store, ledger, Intake(store, ledger, key, allowance), reached=reached)
            _LOG.info("listening on %s:%d", *socket_of_robots.getsockname()[:2])
            _LOG.info("robots verify receipts with %s", home / "keys" / PUBLIC_KEY)
            server(door).run(sockets=[socket_of_robots])


if __name__ == "__main__":
    main()
