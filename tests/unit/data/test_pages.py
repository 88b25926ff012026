"""A log of pages keeps every row once and in order, whoever writes, merges and dies in between."""

import io
from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
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
    found = read(store, LOG, pages(store, LOG), **options)  # type: ignore[arg-type]  # by name
    return [number for some in found for number in some["number"].to_pylist()]


def filled(count: int) -> MemoryStore:
    """A store whose log has so many pages of one row; full families are merged as they are appended."""
    store = MemoryStore()
    for number in range(count):
        assert append(store, LOG, pages(store, LOG), rows(number))
    return store


def test_of_two_writers_of_a_page_one_wins() -> None:
    store = filled(1)
    assert not append(store, LOG, [], rows(9))
    assert end(pages(store, LOG)) == 1
    assert written(store) == [0]


def test_a_long_log_is_few_pages_and_found_with_few_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volano.data.pages._FAMILY_BITS", 2)
    monkeypatch.setattr("volano.data.pages.FAMILY", 4)
    store = filled(4**3 + 2 * 4 + 3)
    listings: list[str] = []
    listed = store.list
    store.list = lambda prefix: (listings.append(prefix), listed(prefix))[1]  # type: ignore[method-assign, func-returns-value]
    assert [(page.level, page.first) for page in pages(store, LOG)] == [
        *((3, 0), (1, 64), (1, 68)),
        *((0, 72), (0, 73), (0, 74)),
    ]
    assert len(listings) == 6, "the first pages, and then one a level"
    assert written(store) == list(range(4**3 + 2 * 4 + 3))


def test_what_would_grow_too_large_is_not_merged_and_what_follows_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volano.data.pages._MERGED_BYTES", 100)
    store = filled(FAMILY)
    assert not full(pages(store, LOG))
    monkeypatch.undo()
    for number in range(FAMILY, 2 * FAMILY):
        store.put_new(LOG.key(0, number), store.objects[LOG.key(0, 0)])
    store.put_new(LOG.key(1, 1), store.objects[LOG.key(0, 0)])
    assert len(pages(store, LOG)) == FAMILY + 1
    assert written(store) == [*range(FAMILY), 0]
    assert end(pages(store, LOG)) == 2 * FAMILY


def test_only_what_is_asked_for_is_read() -> None:
    store = filled(FAMILY + 4)
    assert written(store, where=pc.field("name") == "name 1") == [n for n in range(FAMILY + 4) if n % 3 == 1]
    for since in (0, 5, FAMILY - 1, FAMILY, FAMILY + 2, FAMILY + 4):
        assert written(store, since=since) == list(range(since, FAMILY + 4))
    [first, *_] = read(store, LOG, pages(store, LOG), columns=["name"])
    assert first.column_names == ["name"]


def test_a_damaged_page_is_named() -> None:
    store = filled(2)
    key = LOG.key(0, 1)
    sound = store.objects[key]
    pq.write_table(pa.table({"number": [1], "name": [b"no text"]}), other := io.BytesIO())
    flipped = (sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :] for place in range(0, len(sound), 7))
    for damaged in (sound[:-9], sound.replace(b"name", b"nome"), b"", b"PAR1", other.getvalue(), *flipped):
        store.objects[key] = damaged
        with pytest.raises(DataError, match=f"E-DATA-105.*{key}"):
            written(store)


events = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, FAMILY + 8)),
        st.tuples(st.just("append and die"), st.integers(0, 2)),
    ),
    max_size=5,
)


@settings(max_examples=10, deadline=None)
@given(history=events)
def test_every_row_is_there_once_whatever_dies(history: Sequence[tuple[str, int]]) -> None:
    """A writer appends pages one after another; now and then one dies after so many puts, its merging included."""
    store, expected = MemoryStore(), list[int]()
    for what, number in history:
        for _ in range(number if what == "append" else 1):
            before = end(pages(store, LOG))
            store.lives = number if what == "append and die" else None
            with suppress(Killed):
                append(store, LOG, pages(store, LOG), rows(len(expected)))
            store.lives = None
            if end(pages(store, LOG)) > before:
                expected.append(len(expected))
        assert written(store) == expected
    merge(store, LOG)
    assert written(store) == expected
    assert len(pages(store, LOG)) < 2 * FAMILY
