"""The register: durable, shared, whole behind every cut, and everybody stands still when it was changed."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.unit.inference.hold.orders_of import ARM, Operators, resume, stop
from volano.errors import HoldError
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.hold.state import Order
from volano.ledger.audit import following
from volano.storage.content import canonical_json

OPERATORS = Operators()


def give(register: HoldRegister, order: Order) -> bool:
    return register.apply(order, OPERATORS.signed(order))


def test_an_order_outlives_the_process_and_counts_once(tmp_path: Path) -> None:
    first = stop()
    register = HoldRegister(tmp_path / REGISTER)
    assert give(register, first)
    assert not give(register, first)
    assert "smoke" in HoldRegister(tmp_path / REGISTER).reason(ARM)
    assert give(HoldRegister(tmp_path / REGISTER), resume(first))
    assert register.refresh()
    assert register.reason(ARM) == ""
    assert [row.kind for row in register.rows] == ["hold.stopped", "hold.resumed"]
    assert json.loads(register.rows[0].payload)["order"]["by"] == "ada"


def test_in_memory_it_is_the_same_until_it_ends() -> None:
    register, first = HoldRegister(), stop()
    assert (give(register, first), give(register, first)) == (True, False)
    assert register.reason(ARM)
    assert give(register, resume(first))
    assert register.reason(ARM) == ""


def test_what_a_crash_cut_off_is_written_over_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / REGISTER
    first, second = stop({"robot": "other"}), stop()
    give(HoldRegister(path), first)
    whole = path.read_bytes()
    give(HoldRegister(path), second)
    both = path.read_bytes()
    for cut in range(len(whole), len(both), 7):
        path.write_bytes(both[:cut])
        register = HoldRegister(path)
        assert (register.damage, register.reason(ARM)) == ("", "")
        assert give(register, second)
        assert HoldRegister(path).reason(ARM)


@pytest.mark.parametrize("change", ["a byte", "a line less", "two lines swapped", "no JSON", "removed", "emptied"])
def test_a_register_that_was_changed_holds_everybody(tmp_path: Path, change: str) -> None:
    path = tmp_path / REGISTER
    first = stop({"robot": "other"})
    running = HoldRegister(path)
    for order in (first, resume(first), stop({"robot": "another"})):
        give(running, order)
    assert running.reason(ARM) == ""
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "removed":
        path.unlink()
    else:
        changed = {
            "a byte": path.read_bytes().replace(b"another", b"nobody7"),
            "a line less": lines[0] + lines[2],
            "two lines swapped": lines[1] + lines[0] + lines[2],
            "no JSON": lines[0] + b"\xff\n",
            "emptied": b"",
        }[change]
        path.write_bytes(changed)
    assert running.refresh()
    assert running.reason(ARM).startswith(("the register", "orders are gone"))
    with pytest.raises(HoldError, match="E-HOLD-004"):
        give(running, stop())
    if change not in {"removed", "emptied"}:
        assert HoldRegister(path).reason(ARM)


def test_a_stop_that_cannot_be_written_holds_and_a_resume_lifts_nothing(tmp_path: Path) -> None:
    path = tmp_path / REGISTER
    register, first = HoldRegister(path), stop()
    give(register, first)
    path.with_suffix(".lock").unlink()
    path.with_suffix(".lock").mkdir()  # nothing can be opened there
    second = stop(reason="fire")
    for order in (second, resume(first)):
        with pytest.raises(HoldError, match="E-HOLD-004"):
            give(register, order)
    assert [one.id for one in register.holds.in_force] == [first.id, second.id]


def test_many_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    orders = [stop({"robot": f"arm-{number}"}) for number in range(12)]
    threads = [threading.Thread(target=give, args=(HoldRegister(tmp_path / REGISTER), order)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.id for one in HoldRegister(tmp_path / REGISTER).holds.in_force} == {order.id for order in orders}


@pytest.mark.parametrize("payload", [7, None, {"order": {}}])
def test_a_chain_that_holds_with_a_row_that_is_no_text_holds_everybody(tmp_path: Path, payload: object) -> None:
    row = following(None, 1.0, "hold.stopped", "ada", payload)  # type: ignore[arg-type]
    (tmp_path / REGISTER).write_bytes(canonical_json(asdict(row)) + b"\n")
    assert HoldRegister(tmp_path / REGISTER).reason(ARM).startswith("the register of orders was changed")
