"""Tells a robot how the policy stands that it waits for: at once, every two seconds, and when it is ready.

Only robots that speak Volano's own wire hear it, since no other client expects a frame that it did not ask for. They
hear it after their hello and after each hold, for as long as there is something to tell. However often a robot holds,
the ledger is read for it every two seconds at most.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from serving.routes import RobotRecord
from volano.inference.protocols.own import Status, status

_LOG = logging.getLogger(__name__)
EVERY_S = 2.0
Standing = Callable[[RobotRecord], Status | None]
"""How the policy stands that a robot would get; None when it is ready, or when nobody knows. Called from threads."""


def nothing_to_tell(robot: RobotRecord) -> None:
    """The standing of policies that are always ready."""
    del robot


class Waiting:
    """What one connection is told."""

    def __init__(self, connection: ServerConnection, robot: RobotRecord, standing: Standing) -> None:
        self._connection = connection
        self._robot = robot
        self._standing = standing
        self._task: asyncio.Task[None] | None = None
        self._asked_at = -EVERY_S
        """When its standing was asked for last, in monotonic seconds."""

    def begin(self) -> None:
        """Tell from now on; nothing changes where that happens already."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._tell())

    def end(self) -> None:
        """Tell nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self) -> None:
        told: Status | None = None
        try:
            while (found := await self._ask()) is not None:
                told = found
                await self._connection.send(status(found))
            if told is not None:
                ready = Status(stage="ready", policy=told.policy, elapsed_s=told.elapsed_s, expected_s=told.expected_s)
                await self._connection.send(status(ready))
        except ConnectionClosed:
            pass
        except Exception:  # robots are answered all the same
            _LOG.exception("robot %s could not be told how its policy stands", self._robot.id)

    async def _ask(self) -> Status | None:
        await asyncio.sleep(self._asked_at + EVERY_S - time.monotonic())
        self._asked_at = time.monotonic()
        return await asyncio.to_thread(self._standing, self._robot)
