"""A process that dies at its k-th SQL statement, COMMIT included."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from tests.unit.ledger.samples import step
from volano.ledger.ledger import open_ledger


class Death:
    """Counts statements from when it is armed, and ends the process before or after the one at its position."""

    def __init__(self, when: str) -> None:
        self._after, self._seen, self._position = when == "after", 0, 0
        event.listen(Engine, "before_cursor_execute", self._before)
        event.listen(Engine, "after_cursor_execute", self._behind)
        commit: Callable[[DefaultDialect, Any], None] = DefaultDialect.do_commit

        def commit_and_die(dialect: DefaultDialect, connection: Any) -> None:
            self._before()
            commit(dialect, connection)
            self._behind()

        DefaultDialect.do_commit = commit_and_die  # type: ignore[method-assign]

    def arm(self, position: int) -> None:
        """Die at that statement from here, 1 being the next; never at 0."""
        self._seen, self._position = 0, position

    def _before(self, *_: object) -> None:
        self._seen += 1
        self._end(not self._after)

    def _behind(self, *_: object) -> None:
        self._end(self._after)

    def _end(self, here: bool) -> None:
        if here and self._seen == self._position:
            os.kill(os.getpid(), signal.SIGKILL)


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
    death = Death(when)
    death.arm(position if action == "open" else 0)
    ledger = open_ledger(url)
    if action == "step":
        death.arm(position)
        step(ledger, 0)
    death.arm(0)
