"""The platform's door for uploads, a process of its own so that no bulk delays a robot's next action.

    python -m serving.uploads --home DIR [--port N] [--host H] [--store URL] [--reached URL] [--ledger URL]
                              [--tls-certificate FILE --tls-key FILE [--client-ca FILE]]

A robot is known by its key, asks `POST /uploads` what is missing of a manifest, and is answered with addresses that
take exactly the missing bytes for some minutes, or with a signed receipt. A robot that checks for itself what it runs
asks `GET /papers?root=N`, and says at `POST /reports` what it runs. Where the store is S3 the bytes go there
directly; into a folder the door puts them itself. To the outside go codes and one-line causes. Kill it at any time: it
remembers nothing.
"""

import argparse
import asyncio
import logging
import os
import secrets
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

from serving.admission import Admission
from serving.http_requests import body_of
from serving.http_server import Guests, settings_of
from serving.keys import key_of
from serving.limits import Limits
from serving.papers import MAX_REPORT_BYTES, Papers
from serving.ports import listening_socket, port_number
from serving.relay import Relay
from serving.settings import add_tls, tls_of
from serving.tls import Tls
from volano.data.intake import Allowance, Intake, read_offer
from volano.data.pieces import Piece
from volano.data.receipt import PRIVATE_KEY, PUBLIC_KEY
from volano.ending import coded_ending
from volano.errors import Code, DataError, LedgerError, PolicyError, ServeError, StorageError, VolanoError, WireError
from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.signing import generate
from volano.registry.trust import ANCHOR, STATE, Trust
from volano.storage.open import open_store
from volano.storage.parts import PartStore, put_slot

_LOG = logging.getLogger("serving.uploads")
ADDRESS_S = 900
"""How long an address takes its bytes."""
_MAX_QUESTION_BYTES = 1 << 20
_BODY_S = 300.0
"""Longest that one body may take to arrive."""
_TOO_LARGE = Code.WIRE_FRAME
"""Sent again later it is no smaller: E-WIRE-004 means that here."""
_MAX_BODIES, _MAX_OF_ROBOT = 64, 2
"""Pieces in memory at a time where the door puts them itself, all and of one robot."""
_PROTOCOL = "uploads"
_THREADS = 32
"""For questions and pieces; each robot has one question and two pieces at a time."""
_SWEEP_S = 3600.0
_DRAIN_S = 30.0
_STATUS = {
    Code.WIRE_AUTH: 401,
    Code.DATA_ROBOT: 403,
    Code.DATA_ATTEMPT: 409,
    Code.STORE_PARTS: 409,
    Code.DATA_SIZE: 413,
    Code.DATA_QUOTA: 429,
    Code.WIRE_LIMIT: 429,
    Code.SERVE_RATE: 429,
    Code.SERVE_UNAVAILABLE: 503,
}


class UploadDoor:
    """The HTTP application over an intake."""

    def __init__(
        self,
        store: PartStore,
        ledger: Ledger,
        intake: Intake,
        papers: Papers,
        *,
        reached: PartStore | None = None,
        tls: Tls | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reached` is the same store under the URL by which robots reach it, where that is another; with `tls` the
        door is encrypted; `clock` gives Unix time in seconds."""
        self._admission = Admission(
            ledger.robot_by_key_sha256, limits=limits, certificates=tls is not None and tls.wants_certificates
        )
        self.guests = Guests(self._admission, _PROTOCOL)
        """Whoever is connected."""
        self.tls = tls
        self._store = store
        self._reached = reached or store
        self._intake = intake
        self._papers = papers
        self._clock = clock
        self._relay = Relay(secrets.token_bytes(32))
        self._carried: Counter[str] = Counter()
        """Pieces in memory, by robot."""
        self._asking: set[str] = set()
        """Robots whose question is being answered."""
        routes = [
            Route("/healthz", self._health),
            Route("/uploads", self._coded(self._take), methods=["POST"]),
            Route("/papers", self._coded(self._show), methods=["GET"]),
            Route("/reports", self._coded(self._hear), methods=["POST"]),
            Route("/pieces/{token}", self._coded(self._put), methods=["PUT"]),
        ]
        self.application = Starlette(routes=routes, lifespan=self._lifespan)

    async def _health(self, request: Request) -> Response:
        del request
        return PlainTextResponse("OK\n")

    async def _take(self, request: Request) -> Response:
        robot = await self._robot(request)
        offer = read_offer(await body_of(request, _MAX_QUESTION_BYTES, _BODY_S, _TOO_LARGE))
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

    async def _show(self, request: Request) -> Response:
        """What is released, and what the robot is assigned."""
        robot = await self._robot(request)
        return JSONResponse(await asyncio.to_thread(self._papers.of, robot, request.query_params.get("root", "")))

    async def _hear(self, request: Request) -> Response:
        """A robot's report of what it runs."""
        robot = await self._robot(request)
        envelope = await body_of(request, MAX_REPORT_BYTES, _BODY_S, _TOO_LARGE)
        return JSONResponse(await asyncio.to_thread(self._papers.take, robot, envelope, self._clock()))

    async def _put(self, request: Request) -> Response:
        robot, slot = self._relay.read(request.path_params["token"], self._clock())
        if self._carried[robot] >= _MAX_OF_ROBOT or self._carried.total() >= _MAX_BODIES:
            raise WireError(Code.WIRE_LIMIT, "too many pieces at a time", "send one after another")
        self._carried[robot] += 1
        try:
            data = await body_of(request, slot.size, _BODY_S, _TOO_LARGE)
            await asyncio.to_thread(put_slot, self._store, slot, data)
        finally:
            self._carried[robot] -= 1
        return JSONResponse({})

    async def _robot(self, request: Request) -> str:
        """Who asks; raises like `Admission.robot`."""
        key = key_of(request.headers.getlist("Authorization"), "")
        return (await self._admission.robot(key, self.guests.caller(request), _PROTOCOL)).id

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
        tasks = [asyncio.ensure_future(self._sweep())]
        tasks += [asyncio.ensure_future(self.tls.follow())] if self.tls is not None else []
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._admission.close()

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


def _refusal(error: VolanoError) -> Response:
    """What a robot is told: causes of ours may name places."""
    if isinstance(error, StorageError | LedgerError) and error.code is not Code.STORE_PARTS:
        _LOG.error("the platform failed a robot: %s", error)
        told = _told(Code.SERVE_UNAVAILABLE, f"{error.code}, see the door's log")
        return JSONResponse(told, status_code=503)
    told = {"code": error.code, "cause": error.cause, "fix": error.fix}
    status = _STATUS.get(error.code, 400 if isinstance(error, DataError | WireError | PolicyError) else 500)
    return JSONResponse(told, status_code=status)


def _told(code: Code, cause: str) -> dict[str, str]:
    return {"code": code, "cause": cause, "fix": "send it again later"}


def read_settings(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m serving.uploads", description="Take robots' uploads."
    )
    allowed = Allowance()
    variable = os.environ.get
    parser.add_argument("--home", type=Path, required=True, help="folder with store/, ledger.db and keys/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port_number, default=8701, help="0 takes a free one")
    parser.add_argument("--store", default=variable("VOLANO_STORE", ""), help="URL; default: $VOLANO_STORE, HOME/store")
    parser.add_argument("--reached", default="", help="the same store's URL as robots reach it; default: --store")
    parser.add_argument(
        "--ledger", default=variable("VOLANO_LEDGER", ""), help="URL; default: $VOLANO_LEDGER, HOME/ledger.db"
    )
    parser.add_argument("--episode-bytes", type=int, default=allowed.episode_bytes, help="largest episode")
    parser.add_argument("--day-bytes", type=int, default=allowed.day_bytes, help="of one robot in 24 hours")
    add_tls(parser)
    given = parser.parse_args(arguments)
    given.tls = tls_of(parser, given)
    return given


def server(door: UploadDoor) -> uvicorn.Server:
    """A server that is not yet started."""
    return uvicorn.Server(settings_of(door.application, door.guests, tls=door.tls, drain_s=_DRAIN_S))


def main() -> None:
    """Run the process until SIGTERM; exits with the error's code when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = read_settings()
    home = settings.home.resolve()
    with coded_ending(_LOG), listening_socket(settings.host, settings.port) as socket_of_robots:
        store = open_store(settings.store or str(home / "store"))
        key = generate(home / "keys", PRIVATE_KEY, PUBLIC_KEY)
        allowance = Allowance(episode_bytes=settings.episode_bytes, day_bytes=settings.day_bytes)
        with open_ledger(settings.ledger or f"sqlite:///{home / 'ledger.db'}") as ledger:
            reached = open_store(settings.reached) if settings.reached else None
            trust = Trust(anchor=home / "keys" / ANCHOR, state=home / "uploads" / STATE)
            papers = Papers(store, ledger, trust)
            tls = None if settings.tls is None else Tls(settings.tls)
            door = UploadDoor(store, ledger, Intake(store, ledger, key, allowance), papers, reached=reached, tls=tls)
            _LOG.info("listening on %s:%d", *socket_of_robots.getsockname()[:2])
            _LOG.info("robots verify receipts with %s", home / "keys" / PUBLIC_KEY)
            server(door).run(sockets=[socket_of_robots])


if __name__ == "__main__":
    main()
