"""The gateway's side of HOLD: grants robots their control leases, takes operators' signed orders, tells who is stopped.

An operator's order is durable in the register before it is confirmed, and heard at once by every robot that keeps a
connection for its lease; the others get no lease and no answer any more. It needs the register's file and nothing else:
neither the ledger nor Ray nor a store.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from serving.refusals import RefusalLog
from serving.routes import RobotRecord
from volano.errors import Code, ServeError, VolanoError
from volano.inference.hold.lease import LEASE_S
from volano.inference.hold.orders import Authority, read_order
from volano.inference.hold.register import HoldRegister
from volano.inference.hold.state import Subject

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.05
"""How often the register is looked at for what another process wrote."""
_MOST_LEASES = 4
"""Connections of one robot for its lease; the oldest ends."""
_MOST_SILENT = 16
"""Connections for an order that does not come; the oldest ends."""
_PATIENCE_S = 5.0
"""For an operator's order to come."""
_SEND_S = 1.0
Receive = Callable[[], Awaitable[bytes | str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Leased:
    """A robot that keeps its lease over a connection."""

    connection: ServerConnection
    robot: RobotRecord


class Leases:
    """Who may act, on one gateway."""

    def __init__(self, register: HoldRegister, authority: Authority) -> None:
        self._register = register
        self._authority = authority
        self._leased: dict[str, list[_Leased]] = {}
        """By robot, the oldest first."""
        self._silent: OrderedDict[ServerConnection, None] = OrderedDict()
        """Who may bring an order and has said nothing yet, the oldest first."""
        self._refused = RefusalLog("orders")
        self._orders = ThreadPoolExecutor(1, "hold")
        """Of their own: what hangs elsewhere in the process delays no stop."""
        self._told: dict[str, str] = {}
        """Why each robot was told to stand still."""
        self._sending: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    def reason(self, robot: RobotRecord) -> str:
        """Why a robot has to stand still; empty when it may act."""
        return self._register.reason(subject_of(robot))

    def require(self, robot: RobotRecord) -> None:
        """Raise ServeError(E-HOLD-001) while a robot is stopped."""
        if why := self.reason(robot):
            raise ServeError(Code.HOLD_STOPPED, why, "wait until an operator resumes it: volano resume")

    def start(self) -> None:
        """Look at the register from now on."""
        self._watching = asyncio.ensure_future(self._watch())

    def stop(self) -> None:
        """Look and obey no more."""
        self._orders.shutdown(wait=False)
        for task in (self._watching, *self._sending):
            if task is not None:
                task.cancel()

    async def keep(self, connection: ServerConnection, robot: RobotRecord, receive: Receive) -> None:
        """Answer a robot's questions for its lease until its connection ends."""
        leased = _Leased(connection=connection, robot=robot)
        own = self._leased.setdefault(robot.id, [])
        own.append(leased)
        if len(own) > _MOST_LEASES:
            own.pop(0).connection.transport.abort()
        try:
            while True:
                frame = await receive()
                number = _number_of(frame)
                if number is None:
                    await connection.close(1011, str(Code.WIRE_FRAME))
                    return
                why = self.reason(robot)
                said = {"held": why} if why else {"lease": number, "for_s": LEASE_S}
                await connection.send(json.dumps(said))
        finally:
            if leased in own:
                own.remove(leased)
            if not own and self._leased.get(robot.id) is own:
                del self._leased[robot.id]

    async def command(self, connection: ServerConnection) -> None:
        """Obey an operator: one signed order, one answer, JSON or a code. Strangers who say nothing make room for
        whoever comes after them."""
        self._silent[connection] = None
        if len(self._silent) > _MOST_SILENT:
            self._silent.popitem(last=False)[0].transport.abort()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                frame = await connection.recv()
        except TimeoutError:
            connection.transport.abort()
            return
        finally:
            self._silent.pop(connection, None)
        answer = await self._obey(frame.encode() if isinstance(frame, str) else frame, connection.remote_address)
        await connection.send(answer)
        await connection.close()

    async def _obey(self, envelope: bytes, peer: object) -> str:
        loop = asyncio.get_running_loop()
        try:
            order = await loop.run_in_executor(self._orders, read_order, envelope, self._authority)
            new = await loop.run_in_executor(self._orders, self._register.apply, order, envelope)
        except VolanoError as error:
            if error.code == Code.HOLD_ORDER:  # anybody can bring one that is not believed
                self._refused.note(peer, f"{error.code} {error.cause}")
            else:
                _LOG.error("an order was not carried out: %s %s", error.code, error.cause)
            return f"{error.code}  {error.cause}"
        finally:
            self._tell()
        _LOG.warning("order %s of %s: %s", order.id[:12], order.by, order.reason)
        held = sum(bool(self.reason(one[0].robot)) for one in self._leased.values())
        return json.dumps({"order": order.id, "new": new, "connected": len(self._leased), "held": held})

    async def _watch(self) -> None:
        while True:
            try:
                self._look()
            except Exception:  # whatever it is, the next look may find a stop
                _LOG.exception("looking at the register of orders failed")
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        if self._register.refresh():
            for stop in self._register.holds.in_force:
                _LOG.warning("HOLD: %s, by %s: %s", stop.whom, stop.by, stop.reason)
            if self._register.damage:
                _LOG.error("HOLD: every robot: %s", self._register.damage)
        self._tell()

    def _tell(self) -> None:
        """Say it to every robot that has to stand still and was not told why."""
        now_told = {}
        for name, own in self._leased.items():
            if why := self.reason(own[0].robot):
                now_told[name] = why
                if self._told.get(name) != why:
                    for leased in own:
                        task = asyncio.ensure_future(_send(leased.connection, json.dumps({"held": why})))
                        self._sending.add(task)
                        task.add_done_callback(self._sending.discard)
        self._told = now_told


def subject_of(robot: RobotRecord) -> Subject:
    """A robot as orders mean it."""
    return Subject(robot=robot.id, embodiment=robot.embodiment.tag, site=robot.site)


def _number_of(frame: bytes | str) -> int | None:
    """The number of a question for a lease; None for what is none."""
    if len(frame) > 100:
        return None
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    number = found.get("renew") if isinstance(found, dict) and found.keys() == {"renew"} else None
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 1 << 53 else None


async def _send(connection: ServerConnection, frame: str) -> None:
    """A robot that does not hear it gets no lease either."""
    with suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(_SEND_S):
            await connection.send(frame)
