"""No single change to the chain goes unseen, and its first bad place is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.errors import Code, LedgerError
from volano.ledger.audit import GENESIS, AuditRow, digest, following, verify


def chain(length: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(length):
        rows.append(following(rows[-1] if rows else None, number / 3, f"kind{number}", "actor", f'{{"n":{number}}}'))
    return rows


def first_break(rows: list[AuditRow]) -> str:
    with pytest.raises(LedgerError) as caught:
        verify(rows)
    assert caught.value.code is Code.LEDGER_CHAIN
    return caught.value.cause


def test_an_honest_chain_verifies() -> None:
    for length in range(5):
        verify(chain(length))
    assert chain(1)[0].previous == GENESIS


def test_whole_seconds_are_numbers_like_all_others() -> None:
    assert digest(GENESIS, 1, 5, "k", "a", "{}") == digest(GENESIS, 1, 5.0, "k", "a", "{}")


def test_fields_cannot_flow_into_each_other() -> None:
    assert digest(GENESIS, 1, 5, "ab", "c", "{}") != digest(GENESIS, 1, 5, "a", "bc", "{}")


@given(st.integers(1, 6), st.sampled_from(["at", "kind", "actor", "payload", "previous", "digest"]), st.data())
def test_a_changed_field_is_found_where_it_is(position: int, field: str, data: st.DataObject) -> None:
    rows = chain(6)
    fields = dict(vars(rows[position - 1]))
    kinds = st.floats(allow_nan=False, allow_infinity=False) if field == "at" else st.text()
    fields |= {field: data.draw(kinds.filter(lambda value: value != fields[field]))}
    rows[position - 1] = AuditRow(**fields)
    assert f"sequence {position}:" in first_break(rows)


@given(st.integers(1, 5))
def test_a_row_rewritten_with_its_digest_breaks_the_next(position: int) -> None:
    rows = chain(6)
    before = rows[position - 2] if position > 1 else None
    rows[position - 1] = following(before, 99.0, "forged", "actor", "{}")
    assert f"sequence {position + 1}:" in first_break(rows)


@given(st.integers(0, 4))
def test_a_removed_row_is_missed(position: int) -> None:
    rows = chain(6)
    del rows[position]
    assert f"sequence {position + 1}: the row is missing" in first_break(rows)


def test_swapped_and_repeated_rows_are_found() -> None:
    first, second, third = chain(3)
    assert "sequence 2:" in first_break([first, third, second])
    assert "sequence 3:" in first_break([first, second, second])
