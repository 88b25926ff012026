"""A process that dies at its k-th SQL statement, COMMIT included."""

import multiprocessing
import os
import signal
import sqlite3
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest

from tests.unit.ledger.samples import step
from volano.ledger.ledger import open_ledger


class DyingConnection(sqlite3.Connection):
    """A driver connection that ends the process before or after one of its statements."""

    seen = 0
    position = 0
    after = False

    def commit(self) -> None:
        self._around(super().commit)

    def cursor(self, factory: object = None) -> Any:
        del factory
        return super().cursor(DyingCursor)

    @classmethod
    def _around(cls, call: Any, *arguments: Any) -> Any:
        DyingConnection.seen += 1
        here = DyingConnection.seen == DyingConnection.position
        if here and not cls.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments)
        if here and cls.after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class DyingCursor(sqlite3.Cursor):
    """The cursor of such a connection."""

    def execute(self, *arguments: Any) -> "DyingCursor":
        return DyingConnection._around(super().execute, *arguments)  # type: ignore[no-any-return]


def dying(url: str, action: str, position: int, when: str) -> ForkServerProcess:
    """Start a process that does one thing (`open` the ledger, or `step` its rollout) and dies at that statement."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.ledger.faults", "alembic.command"])
    process = context.Process(target=_act, args=(url, action, position, when))
    process.start()
    return process


def killed(process: ForkServerProcess) -> bool:
    """Whether the process died as told; it must otherwise have done its work."""
    process.join(timeout=60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _act(url: str, action: str, position: int, when: str) -> None:
    connect = sqlite3.connect

    def connect_to_die(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=DyingConnection, **options)

    pytest.MonkeyPatch().setattr(sqlite3.dbapi2, "connect", connect_to_die)
    DyingConnection.after = when == "after"
    if action == "open":
        DyingConnection.position = position
    ledger = open_ledger(url)
    if action == "step":
        DyingConnection.seen = 0
        DyingConnection.position = position
        step(ledger, 0)
    DyingConnection.position = 0
