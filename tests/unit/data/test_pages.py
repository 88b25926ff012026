"""A log of pages keeps every row once and in order, whoever writes, merges and dies in between."""

from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.memory_store import Killed, MemoryStore
from volano.data.pages import FAMILY, Log, append, end, full, merge, pages, read
from volano.errors import DataError

LOG = Log(prefix="log/", schema=pa.schema([("number", pa.int64()), ("name", pa.string())]), repeated=("name",))


def rows(*numbers: int) -> pa.Table:
    return pa.table({"number": numbers, "name": [f"name {number % 3}" for number in numbers]}, schema=LOG.schema)


def written(store: MemoryStore, **options: object) -> list[int]:
    return [number for some in read(store, LOG, **options) for number in some["number"].to_pylist()]  # type: ignore[arg-type]  # by name


def filled(count: int) -> MemoryStore:
    store = MemoryStore()
    for number in range(count):
        assert append(store, LOG, number, rows(number))
    return store


def test_of_two_writers_of_a_page_one_wins() -> None:
    store = filled(1)
    assert not append(store, LOG, 0, rows(9))
    assert end(pages(store, LOG)) == 1
    assert written(store) == [0]


def test_a_long_log_is_few_pages_and_found_with_few_listings() -> None:
    store = filled(FAMILY**2 + 2 * FAMILY + 3)
    merge(store, LOG)
    listings = 0
    listed = store.list

    def counted(prefix: str) -> object:
        nonlocal listings
        listings += 1
        return listed(prefix)

    store.list = counted  # type: ignore[method-assign, assignment]  # the same, counted
    assert [(page.level, page.first) for page in pages(store, LOG)] == [
        (2, 0),
        *((1, FAMILY**2 + FAMILY * number) for number in range(2)),
        *((0, FAMILY**2 + FAMILY * 2 + number) for number in range(3)),
    ]
    assert listings < 10
    assert written(store) == list(range(FAMILY**2 + 2 * FAMILY + 3))


def test_what_would_grow_too_large_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(FAMILY)
    monkeypatch.setattr("volano.data.pages._MERGED_BYTES", 100)
    for number in range(FAMILY, 2 * FAMILY):
        append(store, LOG, number, rows())
    assert not full(pages(store, LOG))
    monkeypatch.undo()
    large = pages(store, LOG)[:FAMILY]
    assert full(large)
    store.put_new(LOG.key(1, 1), store.objects[LOG.key(0, FAMILY)])  # a later family is merged, an earlier one is not
    assert written(store) == list(range(FAMILY))
    assert end(pages(store, LOG)) == 2 * FAMILY


def test_only_what_is_asked_for_is_read() -> None:
    store = filled(FAMILY + 4)
    merge(store, LOG)
    assert written(store, where=pc.field("name") == "name 1") == [n for n in range(FAMILY + 4) if n % 3 == 1]
    for since in (0, 5, FAMILY - 1, FAMILY, FAMILY + 2, FAMILY + 4):
        assert written(store, since=since) == list(range(since, FAMILY + 4))
    [first, *_] = read(store, LOG, columns=["name"])
    assert first.column_names == ["name"]


def test_a_damaged_page_is_named() -> None:
    store = filled(2)
    key = LOG.key(0, 1)
    for damaged in (store.objects[key][:-9], store.objects[key].replace(b"name", b"nome"), b""):
        store.objects[key] = damaged
        with pytest.raises(DataError, match=f"E-DATA-105.*{key}"):
            written(store)


events = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 30)),
        st.tuples(st.just("merge"), st.one_of(st.none(), st.integers(0, 2))),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(history=events)
def test_every_row_is_there_once_whatever_dies(history: Sequence[tuple[str, int | None]]) -> None:
    """A writer writes `append` pages one after another; a merging one dies after so many puts."""
    store, expected = MemoryStore(), list[int]()
    for what, number in history:
        if what == "append":
            for _ in range(number or 0):
                assert append(store, LOG, end(pages(store, LOG)), rows(len(expected)))
                expected.append(len(expected))
        else:
            store.lives = number
            with suppress(Killed):
                merge(store, LOG)
            store.lives = None
        assert written(store) == expected
    merge(store, LOG)
    assert written(store) == expected
    assert len(pages(store, LOG)) < 3 * FAMILY
