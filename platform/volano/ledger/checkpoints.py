"""Checkpoints of the audit in an object store, each under a key that is written once.

Of any number of processes that make them, one makes each. Nothing is signed that does not follow from the last
checkpoint. Safe to kill anywhere.
"""

from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.ledger.audit import AuditRow, broken, verify
from volano.ledger.checkpoint import (
    EVERY_ROWS,
    MAX_BYTES,
    Checkpoint,
    due,
    following,
    read_checkpoints,
    refused,
    sign_checkpoint,
)
from volano.ledger.ledger import Ledger
from volano.storage.store import ObjectStore

_PREFIX = "audit/"


class Checkpoints:
    """Makes the checkpoints of one ledger."""

    def __init__(self, store: ObjectStore, key: Ed25519PrivateKey, trusted: tuple[Ed25519PublicKey, ...]) -> None:
        """`trusted` are the keys that signed those before, this one's public half among them."""
        self._store, self._key, self._trusted = store, key, trusted
        self._last: Checkpoint | None = None

    def advance(self, ledger: Ledger, now: float, *, all_rows: bool = False) -> int:
        """Make those that are due at `now`, in Unix seconds, or cover all rows; how many rows are covered then. Raises
        LedgerError: E-LEDGER-002 when the ledger is no longer what was signed, E-AUDIT-001 when the checkpoints are
        not."""
        if self._last is None:
            self._last = self._newest()
        while (made := self._next(ledger, now, all_rows)) is not None:
            if self._store.put_new(key_of(made.number), sign_checkpoint(made, self._key)):
                self._last = made
            else:
                self._last = self._newest()
        return self._last.last if self._last else 0

    def _next(self, ledger: Ledger, now: float, all_rows: bool) -> Checkpoint | None:
        rows = self._after_last(ledger)
        if rows and all_rows:
            return following(self._last, rows, now)
        return due(self._last, rows, now)

    def _after_last(self, ledger: Ledger) -> list[AuditRow]:
        """The next rows that no checkpoint covers, which follow from the last one that is covered."""
        covered = self._last.last if self._last else 0
        found = list(ledger.audit(after=max(0, covered - 1), most=EVERY_ROWS + 1))
        before = None
        if self._last is not None:
            if not found or (found[0].sequence, found[0].digest) != (covered, self._last.digests[-1]):
                raise broken(covered, "it, or a row before it, is not what was signed")
            before = found.pop(0)
        verify(found, before)
        return found[:EVERY_ROWS]

    def _newest(self) -> Checkpoint | None:
        found = read_checkpoints(stored(self._store), self._trusted)
        return found[-1] if found else None


def stored(store: ObjectStore) -> Iterator[bytes]:
    """The envelopes in a store, in order; nobody verified them. Raises LedgerError(E-AUDIT-001) for one that is missing
    or too large."""
    for number, info in enumerate(store.list(_PREFIX), 1):
        if info.key != key_of(number) or info.size > MAX_BYTES:
            raise refused(f"checkpoint {number} is missing, or {info.key} is none")
        yield store.get(info.key)


def key_of(number: int) -> str:
    """Where a checkpoint stands."""
    return f"{_PREFIX}{number:010d}.json"
