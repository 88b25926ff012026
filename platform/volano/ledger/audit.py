"""The audit chain: each row's digest covers its content and the digest before it. Pure.

A changed, removed, inserted or reordered row breaks the chain at a sequence that `verify` names. Rows cut off the end
leave a valid shorter chain, and so do digests that were all made anew: signed checkpoints show that.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from volano.errors import Code, LedgerError
from volano.storage.content import canonical_json

GENESIS = "0" * 64
"""What the first row has as its `previous`."""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One thing that happened."""

    sequence: int
    """1, 2, 3, ... without gaps."""
    at: float
    """Unix time in seconds."""
    kind: str
    actor: str
    """Who or what did it: an operator, a robot, a controller."""
    payload: str
    """Canonical JSON."""
    previous: str
    """Digest of the row before."""
    digest: str


def digest(previous: str, sequence: int, at: float, kind: str, actor: str, payload: str) -> str:
    """Hex SHA-256 of a row's content and the digest before it."""
    return hashlib.sha256(canonical_json([previous, sequence, float(at), kind, actor, payload])).hexdigest()


def following(last: AuditRow | None, at: float, kind: str, actor: str, payload: str) -> AuditRow:
    """The row to append after `last`."""
    sequence, previous = (last.sequence + 1, last.digest) if last else (1, GENESIS)
    return AuditRow(
        sequence=sequence,
        at=float(at),
        kind=kind,
        actor=actor,
        payload=payload,
        previous=previous,
        digest=digest(previous, sequence, at, kind, actor, payload),
    )


def verify(rows: Iterable[AuditRow], last: AuditRow | None = None) -> None:
    """Raise LedgerError(E-LEDGER-002) naming the first sequence at which the chain, after `last`, does not hold."""
    found = first_break(rows, last)
    if found is not None:
        raise broken(*found)


def first_break(rows: Iterable[AuditRow], last: AuditRow | None = None) -> tuple[int, str] | None:
    """The first sequence at which the chain does not hold, and what is wrong there; None when it holds."""
    for row in rows:
        expected = following(last, row.at, row.kind, row.actor, row.payload)
        if row != expected:
            what = "is missing or out of order" if row.sequence != expected.sequence else "was changed"
            return expected.sequence, f"the row {what}"
        last = row
    return None


def broken(sequence: int, what: str) -> LedgerError:
    """E-LEDGER-002."""
    return LedgerError(
        Code.LEDGER_CHAIN,
        f"the audit chain breaks at sequence {sequence}: {what}",
        "stop rollouts, keep this ledger as evidence and compare it with its backup",
    )
