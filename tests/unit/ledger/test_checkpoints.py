"""What was signed of the audit can be neither taken back nor made anew, and is signed once whatever is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.data.memory_store import Killed, MemoryStore
from volano.errors import Code, LedgerError
from volano.ledger.audit import AuditRow, following
from volano.ledger.checkpoint import EVERY_ROWS, EVERY_S, Checkpoint, read_checkpoints, sign_checkpoint, verify_against
from volano.ledger.checkpoints import Checkpoints, key_of, stored
from volano.ledger.ledger import Ledger, open_ledger

KEY = Ed25519PrivateKey.generate()
TRUSTED = (KEY.public_key(),)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def write(ledger: Ledger, number: int, at: float) -> None:
    for count in range(number):
        ledger.record("test", "nobody", {"count": count}, at)


def read(store: MemoryStore) -> tuple[Checkpoint, ...]:
    return read_checkpoints(stored(store), TRUSTED)


def test_a_checkpoint_is_due_after_a_hundred_rows_or_an_hour(ledger: Ledger) -> None:
    store = MemoryStore()
    maker = Checkpoints(store, KEY, TRUSTED)
    assert maker.advance(ledger, 0.0) == 0
    write(ledger, EVERY_ROWS - 1, 0.0)
    assert maker.advance(ledger, EVERY_S - 1) == 0
    write(ledger, 1, 1.0)
    assert maker.advance(ledger, 2.0) == EVERY_ROWS
    write(ledger, 1, 3.0)
    assert maker.advance(ledger, EVERY_S + 1) == EVERY_ROWS
    assert maker.advance(ledger, EVERY_S + 2) == EVERY_ROWS + 1
    write(ledger, 2 * EVERY_ROWS + 5, EVERY_S)
    assert maker.advance(ledger, EVERY_S + 3) == 3 * EVERY_ROWS + 1
    assert maker.advance(ledger, EVERY_S + 3, all_rows=True) == 3 * EVERY_ROWS + 6
    assert [(one.first, one.last) for one in read(store)] == [(1, 100), (101, 101), (102, 201), (202, 301), (302, 306)]
    assert verify_against(list(ledger.audit()), read(store)) == 0


def test_of_several_makers_and_after_a_kill_each_is_made_once(ledger: Ledger) -> None:
    store = MemoryStore()
    write(ledger, 3 * EVERY_ROWS, 0.0)
    for lives in (0, 1):
        store.lives = lives
        with pytest.raises(Killed):
            Checkpoints(store, KEY, TRUSTED).advance(ledger, 1.0)
    store.lives = None
    first, second = Checkpoints(store, KEY, TRUSTED), Checkpoints(store, KEY, TRUSTED)
    first.advance(ledger, 1.0)
    write(ledger, 7, 1.0)
    for maker in (second, first, second):
        assert maker.advance(ledger, 2.0, all_rows=True) == 3 * EVERY_ROWS + 7
    assert [one.number for one in read(store)] == [1, 2, 3, 4]


def test_nothing_is_signed_that_does_not_follow(ledger: Ledger, tmp_path: Path) -> None:
    store = MemoryStore()
    write(ledger, EVERY_ROWS, 0.0)
    maker = Checkpoints(store, KEY, TRUSTED)
    maker.advance(ledger, 1.0)
    with open_ledger(f"sqlite:///{tmp_path / 'other.db'}") as other:
        write(other, EVERY_ROWS + 50, 9.0)
        with pytest.raises(LedgerError) as caught:
            maker.advance(other, 2.0, all_rows=True)
    assert caught.value.code is Code.LEDGER_CHAIN
    assert len(read(store)) == 1


def chain(length: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(length):
        rows.append(following(rows[-1] if rows else None, float(number), "kind", "actor", f'{{"n":{number}}}'))
    return rows


def test_a_chain_made_anew_or_cut_off_is_found_at_its_record(ledger: Ledger) -> None:
    store = MemoryStore()
    write(ledger, 250, 0.0)
    Checkpoints(store, KEY, TRUSTED).advance(ledger, 1.0)
    rows, found = list(ledger.audit()), read(store)
    assert verify_against(rows, found) == 50
    anew = rows[:136]
    for row in rows[136:]:
        anew.append(following(anew[-1], row.at, row.kind, "somebody else", row.payload))
    for tampered, place in ((anew, 137), (rows[:180], 181), ([], 1)):
        with pytest.raises(LedgerError) as caught:
            verify_against(tampered, found)
        assert caught.value.code is Code.LEDGER_CHAIN
        assert f"at sequence {place}:" in caught.value.cause
    assert verify_against(rows[:200], found) == 0, "rows after the last checkpoint can be cut off"


@pytest.mark.parametrize("change", ["gone", "first gone", "swapped", "forged", "endless", "other name", "stranger"])
def test_checkpoints_that_were_changed_are_refused(ledger: Ledger, change: str) -> None:
    store = MemoryStore()
    write(ledger, 300, 0.0)
    Checkpoints(store, KEY, TRUSTED).advance(ledger, 1.0)
    objects = store.objects
    if change in {"gone", "first gone"}:
        del objects[key_of(2 if change == "gone" else 1)]
    elif change == "swapped":
        objects[key_of(1)], objects[key_of(2)] = objects[key_of(2)], objects[key_of(1)]
    elif change == "forged":
        objects[key_of(2)] = objects[key_of(2)].replace(b"payload", b"paYload")
    elif change == "endless":
        objects[key_of(2)] = bytes(1 << 20)
    elif change == "other name":
        objects["audit/x.json"] = objects[key_of(1)]
    else:
        objects[key_of(2)] = sign_checkpoint(read(store)[1], Ed25519PrivateKey.generate())
    with pytest.raises(LedgerError) as caught:
        read(store)
    assert caught.value.code is Code.AUDIT_CHECKPOINT
