"""Signed checkpoints of the audit chain: what the chain's owner cannot take back, since a copy stands elsewhere.

The chain alone shows what was changed inside it, unless every digest after the change was made anew, or the end was cut
off. A checkpoint says, signed, which digests stood at which sequences; each names the one before. Held against them,
the rows up to the last checkpoint are what they were, or the first that is not is named. Pure.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.errors import Code, LedgerError
from volano.ledger.audit import GENESIS, AuditRow, broken, first_break
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.envelope import UnsignedError, sealed, unsealed

PAYLOAD_TYPE = "application/vnd.volano.audit-checkpoint.v1+json"
EVERY_ROWS, EVERY_S = 100, 3600.0
"""A checkpoint covers at most so many rows; it is due when there are so many, or some for so many seconds."""
MAX_BYTES = 32 << 10


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What stood in the chain."""

    number: int
    """1, 2, 3, ... without gaps."""
    first: int
    """Sequence of the first row that it covers: the one after the last of the checkpoint before."""
    digests: tuple[str, ...]
    """Of the rows, in order."""
    at: float
    """Unix time in seconds."""
    previous: str
    """SHA-256 of the checkpoint before; `GENESIS` for the first."""

    @property
    def last(self) -> int:
        """Sequence of the last row that it covers."""
        return self.first + len(self.digests) - 1

    @property
    def digest(self) -> str:
        """SHA-256 of what is signed."""
        return sha256_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))


def due(last: Checkpoint | None, rows: Sequence[AuditRow], now: float) -> Checkpoint | None:
    """The next checkpoint, if there is to be one at `now`, in Unix seconds; `rows` are the first of those after the
    last checkpoint."""
    if not rows or (len(rows) < EVERY_ROWS and now - (last.at if last else rows[0].at) < EVERY_S):
        return None
    return following(last, rows, now)


def following(last: Checkpoint | None, rows: Sequence[AuditRow], now: float) -> Checkpoint:
    """The checkpoint after `last` over the first of these rows, which come after it."""
    return Checkpoint(
        number=last.number + 1 if last else 1,
        first=rows[0].sequence,
        digests=tuple(row.digest for row in rows[:EVERY_ROWS]),
        at=float(now),
        previous=last.digest if last else GENESIS,
    )


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Its envelope."""
    return sealed(checkpoint.to_bytes(), PAYLOAD_TYPE, key)


def read_checkpoints(envelopes: Iterable[bytes], trusted: Sequence[Ed25519PublicKey]) -> tuple[Checkpoint, ...]:
    """Checkpoints in order. Raises LedgerError(E-AUDIT-001) naming the first that no trusted key signed, or that does
    not follow from the one before: a checkpoint between them is gone, or was exchanged."""
    found: list[Checkpoint] = []
    for number, envelope in enumerate(envelopes, 1):
        try:
            if len(envelope) > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            one = _parsed(unsealed(envelope, PAYLOAD_TYPE, trusted))
        except (UnsignedError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise refused(f"checkpoint {number} is not believed: {error}") from error
        before = found[-1] if found else None
        place = (before.number + 1, before.last + 1, before.digest) if before else (1, 1, GENESIS)
        if (one.number, one.first, one.previous) != place:
            raise refused(f"checkpoint {number} is missing, or does not follow from the one before")
        found.append(one)
    return tuple(found)


def verify_against(rows: Sequence[AuditRow], checkpoints: Iterable[Checkpoint]) -> int:
    """Hold a chain against its checkpoints, in order; how many rows at its end none of them covers yet.

    Raises LedgerError(E-LEDGER-002) naming the first sequence that is not what it was: changed, removed, inserted or
    reordered, also where every digest after it was made anew; or cut off, up to the last checkpoint.
    """
    signed = [digest for one in checkpoints for digest in one.digests]
    found = first_break(rows)
    for sequence, digest in enumerate(signed, 1):
        if found is not None and found[0] <= sequence:
            break
        if sequence > len(rows):
            raise broken(sequence, "the rows from there on were cut off")
        if rows[sequence - 1].digest != digest:
            raise broken(sequence, "the row is not the one that was signed")
    if found is not None:
        raise broken(*found)
    return len(rows) - len(signed)


def _parsed(payload: bytes) -> Checkpoint:
    plain = json.loads(payload)
    found = Checkpoint(**{**plain, "digests": tuple(plain["digests"])})
    numbers = type(found.number) is int and type(found.first) is int and type(found.at) is float
    texts = all(isinstance(text, str) for text in (*found.digests, found.previous))
    if not numbers or not texts or not found.digests or found.to_bytes() != payload:
        raise ValueError("it has another form")
    return found


def refused(cause: str) -> LedgerError:
    """E-AUDIT-001."""
    return LedgerError(
        Code.AUDIT_CHECKPOINT,
        cause,
        "keep ledger and store as evidence; compare them with a backup, and look whether the root here is the newest",
    )
