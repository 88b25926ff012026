"""A log of immutable Parquet pages in the store: rows are appended, read by column, and never changed.

A page appears by one conditional put under the next number, so of two writers one wins and the other looks again.
Thirty-two neighbours are merged into one page of the next level, which holds just what they hold: whoever is killed
before, between or after leaves the same rows, and a log of n pages is found with a few listings. Merged neighbours
stay. A page holds its own hash. A log is a projection of other objects: removed whole, it is made again.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from volano.errors import Code, DataError
from volano.storage.store import ObjectStore

_FAMILY_BITS = 5
FAMILY = 1 << _FAMILY_BITS
_LEVELS = 5
"""A log takes 32^5 pages."""
_MERGED_BYTES = 128 << 20
"""A page never grows beyond this by merging: one is read at a time."""
_ROW_GROUP = 1 << 17
_FEW_ROWS = 256
"""Below this a page is not compressed: to set up a decompressor for each column takes longer than everything else."""
_MANY_BYTES = 1 << 20
"""From here on a page's columns are read by several threads."""
_TEXTS = pa.dictionary(pa.int32(), pa.string())
"""What a repeated column is when it was read."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Where the pages are, and what is in them."""

    prefix: str
    """Of their keys, with the slash."""
    schema: pa.Schema
    repeated: tuple[str, ...]
    """Columns of text with few different values: kept as dictionaries on the disk and in memory."""

    def family(self, level: int, family: int) -> str:
        """Prefix of the keys of neighbours that are merged; in a folder store a folder of their own."""
        return f"{self.prefix}{level}/{family:05x}/"

    def key(self, level: int, number: int) -> str:
        """Key of a page."""
        return f"{self.family(level, number >> _FAMILY_BITS)}{number % FAMILY:02x}.parquet"


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: it holds what the pages [first, end) of level 0 held."""

    level: int
    number: int
    size: int
    """In bytes."""

    @property
    def first(self) -> int:
        """The first page of level 0 in it."""
        return self.number << _FAMILY_BITS * self.level

    @property
    def end(self) -> int:
        """The one behind the last."""
        return self.number + 1 << _FAMILY_BITS * self.level


def pages(store: ObjectStore, log: Log) -> list[Page]:
    """The fewest pages that hold all rows, in order."""
    first = list(_family(store, log, 0, 0))
    return first if len(first) < FAMILY else list(_family(store, log, _LEVELS - 1, 0))


def end(found: Sequence[Page]) -> int:
    """The number that the next page gets."""
    return found[-1].end if found else 0


def append(store: ObjectStore, log: Log, found: Sequence[Page], rows: pa.Table) -> bool:
    """Write rows as the page behind those that were found, and merge what is full then; False when another writer was
    quicker, and nothing was written."""
    place = end(found)
    if not store.put_new(log.key(0, place), _encode(log, rows)):
        return False
    if full(found) or (place + 1) % FAMILY == 0:
        merge(store, log)
    return True


def merge(store: ObjectStore, log: Log) -> None:
    """Merge what is full, at every level. Killed anywhere, it is finished by the next."""
    while families := full(pages(store, log)):
        for family in families:
            rows = pa.concat_tables([_decode(store, log, page, None, None) for page in family])
            store.put_new(log.key(family[0].level + 1, family[0].number >> _FAMILY_BITS), _encode(log, rows))


def full(found: Sequence[Page]) -> list[list[Page]]:
    """Neighbours that are to be merged. Pure."""
    families = [list(some) for _, some in groupby(found, lambda page: (page.level, page.number >> _FAMILY_BITS))]
    return [
        family
        for family in families
        if len(family) == FAMILY
        and family[0].level + 1 < _LEVELS
        and sum(page.size for page in family) <= _MERGED_BYTES
    ]


def read(
    store: ObjectStore,
    log: Log,
    found: Sequence[Page],
    *,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
    since: int = 0,
) -> Iterator[pa.Table]:
    """Rows of pages that were found, in order: these columns (all by default) where the condition holds, of those that
    were appended as number `since` or later. Raises DataError(E-DATA-105) for a damaged page."""
    for page in found:
        if page.first >= since:
            yield _decode(store, log, page, columns, where)
        elif page.end > since:  # merged meanwhile: its parts are still there
            for number in range(since, page.end):
                yield _decode(store, log, Page(level=0, number=number, size=0), columns, where)


def _family(store: ObjectStore, log: Log, level: int, family: int) -> Iterator[Page]:
    """The pages of a family until the log ends; a page that is not there is looked for in its parts."""
    sizes = {info.key: info.size for info in store.list(log.family(level, family))}
    for number in range(family << _FAMILY_BITS, family + 1 << _FAMILY_BITS):
        size = sizes.get(log.key(level, number))
        if size is not None:
            yield Page(level=level, number=number, size=size)
            continue
        parts = list(_family(store, log, level - 1, number)) if level else []
        yield from parts
        if end(parts) != number + 1 << _FAMILY_BITS * level:
            return


def _encode(log: Log, rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        rows.cast(log.schema),
        sink,
        compression="none" if len(rows) < _FEW_ROWS else "zstd",
        write_statistics=len(rows) >= _FEW_ROWS,
        use_dictionary=list(log.repeated),
        row_group_size=_ROW_GROUP,
    )
    return _sealed(sink.getvalue())


def _sealed(data: bytes) -> bytes:
    """A Parquet file with its SHA-256 before its footer, where readers of Parquet do not look."""
    place = _footer(data)
    return data[:place] + hashlib.sha256(data).digest() + data[place:]


def _is_whole(data: bytes) -> bool:
    """Whether it is what was sealed: also its footer, which says where everything is and has no checksum of its own."""
    place = _footer(data)
    before = place - hashlib.sha256().digest_size
    if before < 0:
        return False
    found = hashlib.sha256(memoryview(data)[:before])
    found.update(memoryview(data)[place:])
    return found.digest() == data[before:place]


def _footer(data: bytes) -> int:
    """Where it begins: its length stands before the last four bytes."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _decode(
    store: ObjectStore, log: Log, page: Page, columns: Sequence[str] | None, where: pc.Expression | None
) -> pa.Table:
    key = log.key(page.level, page.number)
    data, wanted = store.get(key), log.schema.names if columns is None else list(columns)
    if not _is_whole(data):
        raise _damaged(log, key, "its hash is another one")
    try:
        rows = _parse(data, wanted, where, list(log.repeated))
        found = {field.name: field.type for field in rows.schema}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(log, key, str(error)) from error
    if len(rows.schema) != len(wanted) or found != {
        name: _TEXTS if name in log.repeated else log.schema.field(name).type for name in wanted
    }:
        raise _damaged(log, key, "it has other columns")
    return rows


def _parse(data: bytes, columns: list[str], where: pc.Expression | None, repeated: list[str]) -> pa.Table:
    if where is not None:
        return pq.read_table(
            pa.BufferReader(data),
            columns=columns,
            filters=where,
            read_dictionary=repeated,
        )
    # The same without a condition, at half the price: most pages are small.
    with pq.ParquetFile(pa.BufferReader(data), read_dictionary=repeated) as file:
        return file.read(columns=columns, use_threads=len(data) >= _MANY_BYTES)


def _damaged(log: Log, key: str, why: str) -> DataError:
    return DataError(
        Code.DATA_CATALOGUE,
        f"the catalogue's page {key} is damaged: {why}",
        f"remove everything under {log.prefix} in the store: it says nothing new, and the next ingest and version "
        "make it again",
    )
