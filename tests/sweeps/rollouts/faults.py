"""Faults of a simulated rollout: a crash, or a call whose request or answer is lost, at the edges of real commits.

Armed, the next commit of the ledger does not happen, or happens and nobody learns of it. The store fails the same way.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from tests.unit.data.memory_store import MemoryStore
from volano.errors import Code, LedgerError, StorageError
from volano.ledger.ledger import Ledger
from volano.storage.store import ObjectInfo

Edge = Literal["before", "after"]
Result = TypeVar("Result")


class Crash(BaseException):
    """The process is gone; nobody may catch it but the world."""


@dataclass(kw_only=True)
class Commits:
    """What happens to the next commit of a ledger."""

    counts: Counter[str] = field(default_factory=Counter)
    armed: tuple[Literal["crash", "lose"], Edge] | None = None
    who: str = ""
    parted: bool = False
    """Nothing reaches the ledger."""

    def edge(self, edge: Edge) -> None:
        if self.armed is None or self.armed[1] != edge:
            return
        kind, self.armed = self.armed[0], None
        self.counts[f"{kind} {edge} a commit of {self.who}"] += 1
        if kind == "crash":
            raise Crash
        raise LedgerError(Code.LEDGER_UNAVAILABLE, "the connection was lost", "ask again")

    def begin(self) -> None:
        if self.parted:
            self.counts[f"{self.who} parted from the ledger"] += 1
            raise LedgerError(Code.LEDGER_UNAVAILABLE, "the ledger cannot be reached", "wait")


@contextmanager
def watched(ledger: Ledger, commits: Commits) -> Iterator[None]:
    """The ledger's transactions meet these faults."""

    def begin(connection: Connection) -> None:
        del connection
        commits.begin()

    def commit(connection: Connection) -> None:
        if connection.get_execution_options().get("volano_writes"):
            commits.edge("before")

    def committed(session: Session) -> None:
        bind = session.get_bind()
        if bind.get_execution_options().get("volano_writes"):
            commits.edge("after")

    event.listen(ledger.engine, "begin", begin, insert=True)
    event.listen(ledger.engine, "commit", commit)
    event.listen(Session, "after_commit", committed)
    try:
        yield
    finally:
        event.remove(Session, "after_commit", committed)
        event.remove(ledger.engine, "commit", commit)
        event.remove(ledger.engine, "begin", begin)


class FlakyStore(MemoryStore):
    """Fails when `fails` says so, and calls `meanwhile` once while somebody reads: another process was quicker."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts
        self.fails: Callable[[], bool] = lambda: False
        self.meanwhile: Callable[[], None] | None = None

    def get(self, key: str) -> bytes:
        return self._call(partial(super().get, key))

    def exists(self, key: str) -> bool:
        return self._call(partial(super().exists, key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = super().list
        return iter(self._call(lambda: [*found(prefix)]))

    def _call(self, call: Callable[[], Result]) -> Result:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self.fails():
            self.counts["the store failed"] += 1
            raise StorageError(Code.STORE_UNAVAILABLE, "the store does not answer", "wait")
        return call()
