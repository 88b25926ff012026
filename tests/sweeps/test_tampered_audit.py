"""A thousand and more tampers with an audit log: each is found, and named at its record, whether or not every digest
after it was made anew.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.sweeps.conftest import SWEPT
from volano.errors import Code, LedgerError
from volano.ledger.audit import AuditRow
from volano.ledger.audit import following as next_row
from volano.ledger.checkpoint import Checkpoint, following, read_checkpoints, sign_checkpoint, verify_against

pytestmark = pytest.mark.slow
ROWS, TAMPERS = 430, 2400
KEY = Ed25519PrivateKey.generate()
Tamper = Callable[[list[AuditRow], Random], tuple[list[AuditRow], int]]


def honest() -> tuple[list[AuditRow], tuple[Checkpoint, ...]]:
    """A chain, and the checkpoints over its first 400 rows, through their envelopes."""
    chance, rows, made = Random(1), list[AuditRow](), list[Checkpoint]()
    for number in range(ROWS):
        payload = f'{{"number":{number},"policy":"{chance.randbytes(8).hex()}"}}'
        rows.append(next_row(rows[-1] if rows else None, number / 7, f"kind.{number % 5}", "ada", payload))
    for start in range(0, 400, 100):
        made.append(following(made[-1] if made else None, rows[start : start + 100], 1.0))
    return rows, read_checkpoints((sign_checkpoint(one, KEY) for one in made), (KEY.public_key(),))


def altered(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
    place = chance.randrange(400)
    field = chance.choice(["at", "kind", "actor", "payload", "previous", "digest"])
    value: object = chance.uniform(0, 1e9) if field == "at" else chance.randbytes(32).hex()
    rows[place] = replace(rows[place], **{field: value})  # type: ignore[arg-type]
    return rows, place + 1


def removed(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
    place = chance.randrange(400)
    del rows[place : place + chance.randrange(1, 9)]
    return rows, place + 1


def inserted(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
    place = chance.randrange(400)
    forged = next_row(rows[place - 1] if place else None, 5.0, "forged", "eve", "{}")
    rows.insert(place, forged)
    return rows, place + 1


def reordered(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
    first, second = sorted(chance.sample(range(400), 2))
    rows[first], rows[second] = rows[second], rows[first]
    return rows, first + 1


def cut(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
    place = chance.randrange(400)
    return rows[:place], place + 1


def anew(tamper: Tamper) -> Tamper:
    """The same, after which the tamperer numbers all rows and makes all digests anew: the chain alone holds."""

    def remake(rows: list[AuditRow], chance: Random) -> tuple[list[AuditRow], int]:
        before = list(rows)
        changed, _ = tamper(rows, chance)
        made: list[AuditRow] = []
        for row in changed:
            made.append(next_row(made[-1] if made else None, row.at, row.kind, row.actor, row.payload))
        differs = [number for number, (one, other) in enumerate(zip(made, before, strict=False)) if one != other]
        return made, differs[0] + 1 if differs else min(len(made), len(before)) + 1

    remake.__name__ = f"{tamper.__name__}_anew"
    return remake


TAMPERERS = [altered, removed, inserted, reordered, cut, *map(anew, (altered, removed, inserted, reordered, cut))]


def test_every_tamper_is_found_at_its_record(record_property: Callable[[str, object], None]) -> None:
    rows, checkpoints = honest()
    assert verify_against(rows, checkpoints) == 30
    found: Counter[str] = Counter()
    for number in range(TAMPERS):
        chance, tamper = Random(number), TAMPERERS[number % len(TAMPERERS)]
        changed, place = tamper(list(rows), chance)
        if changed == rows:  # digests made anew of an altered digest are what they were
            found["nothing changed"] += 1
            continue
        with pytest.raises(LedgerError) as caught:
            verify_against(changed, checkpoints)
        assert caught.value.code is Code.LEDGER_CHAIN
        assert f"at sequence {place}:" in caught.value.cause, (tamper.__name__, number, caught.value.cause)
        found[tamper.__name__] += 1
    assert TAMPERS - found["nothing changed"] >= 1000
    assert all(found[tamper.__name__] >= 100 for tamper in TAMPERERS), found
    record_property(SWEPT, f"{TAMPERS} tampers: {dict(found)}")
