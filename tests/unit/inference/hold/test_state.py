"""Orders: whom a stop means, and that arrival order, repetition and replay change nothing."""

from itertools import permutations

import pytest

from tests.unit.inference.hold.orders_of import ARM, resume, stop
from volano.errors import HoldError
from volano.inference.hold.state import Holds, Order, order_from_json, order_to_json, read_scope


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ({}, True),
        ({"robot": "arm-07"}, True),
        ({"robot": "arm-08"}, False),
        ({"site": "hall-2", "embodiment": "sawyer"}, True),
        ({"site": "hall-2", "embodiment": "scout"}, False),
    ],
)
def test_a_stop_means_whom_all_its_conditions_fit(scope: dict[str, str], held: bool) -> None:
    reason = Holds().after(stop(scope)).reason(ARM)
    assert bool(reason) == held
    assert not held or "smoke" in reason


def test_orders_mean_the_same_in_every_order_and_number() -> None:
    first, second = stop(), stop({"robot": "arm-07"})
    orders: list[Order] = [first, second, resume(first)]
    for arrival in permutations([*orders, *orders], 4):
        holds = Holds()
        for order in (*arrival, *orders):
            holds = holds.after(order)
        assert [one.id for one in holds.in_force] == [second.id]


def test_a_resume_that_is_replayed_lifts_no_later_stop() -> None:
    first = stop()
    lifted = resume(first)
    holds = Holds().after(first).after(lifted)
    assert holds.reason(ARM) == ""
    again = holds.after(stop(reason="fire")).after(lifted)
    assert "fire" in again.reason(ARM)


def test_an_order_is_read_back_and_anything_else_is_refused() -> None:
    for order in (stop({"site": "hall-2"}), resume(stop())):
        plain = order_to_json(order)
        assert order_from_json(plain) == order
        for name in plain:
            for wrong in (None, [], {}, "", "x\x07", -1.0, {"color": "red"}, {"robot": "*"}, ["zz"], True):
                with pytest.raises(HoldError, match="E-HOLD-003"):
                    order_from_json({**plain, name: wrong} if wrong != {} or name != "scope" else [])


def test_a_selector_is_read_as_it_is_written() -> None:
    assert read_scope("site=hall-2, embodiment=sawyer") == {"site": "hall-2", "embodiment": "sawyer"}
    for wrong in ("", "site", "site=", "colour=red", "site=a,site=b", "robot=*"):
        with pytest.raises(HoldError, match="E-HOLD-003"):
            read_scope(wrong)
