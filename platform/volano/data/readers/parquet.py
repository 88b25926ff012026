"""Columns of foreign Parquet files as plain arrays: sizes are compared before anything is loaded, nulls are refused.

A file says how large its columns are and may lie, so this runs only in a process whose memory is limited.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.readers.foreign import MAX_LOADED_BYTES, require, understood
from volano.errors import Code

_MAX_THRIFT_BYTES = 16 << 20
_MAX_ROWS = 50_000_000


def read_table(path: Path, wanted: Collection[str] | None = None) -> pa.Table:
    """The wanted top-level columns that are there, or all; raises DataError: E-DATA-080 when it is no Parquet file,
    E-DATA-017 when it is too large."""
    with (
        understood(path.name, pa.ArrowException),
        pq.ParquetFile(
            path, thrift_string_size_limit=_MAX_THRIFT_BYTES, thrift_container_size_limit=_MAX_THRIFT_BYTES
        ) as file,
    ):
        names = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        require(len(set(names)) == len(names), f"{path.name} has two columns of one name")
        require(file.metadata.num_rows <= _MAX_ROWS, f"{path.name} has too many rows", Code.DATA_SIZE)
        require(_size(file, names) <= MAX_LOADED_BYTES, f"{path.name} is too large to be loaded", Code.DATA_SIZE)
        table = file.read(columns=names, use_threads=False)
        table.validate(full=True)
    require(len(table) == file.metadata.num_rows, f"{path.name} announces another number of rows than it holds")
    return table


def _size(file: pq.ParquetFile, names: Collection[str]) -> int:
    """Bytes of the columns when loaded, as far as the file tells."""
    total = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            path = column.path_in_schema
            if any(path == name or path.startswith(f"{name}.") for name in names):
                total += max(column.total_uncompressed_size, 8 * column.num_values)
    return total


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column without nulls; raises DataError(E-DATA-080)."""
    require(name in table.column_names, f"the column {name!r} is missing")
    found = table[name]
    require(found.null_count == 0, f"the column {name!r} has nulls")
    return found


def integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers, (T,)."""
    found = column(table, name)
    require(pa.types.is_integer(found.type), f"the column {name!r} holds no whole numbers")
    return np.asarray(found.to_numpy(), np.int64)


def floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of numbers, (T,)."""
    return np.asarray(matrix(table, name, 1)[:, 0], np.float64)


def matrix(table: pa.Table, name: str, width: int) -> NDArray[np.generic]:
    """A column of `width` numbers a row as (T, width), in its own type; lists may be nested, of fixed or free length.
    Raises DataError(E-DATA-080) when a row has another number of them, or a null."""
    found = column(table, name).combine_chunks()
    values = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    count = len(table)
    while pa.types.is_nested(values.type):
        is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        require(is_list or pa.types.is_fixed_size_list(values.type), f"the column {name!r} holds no numbers")
        lengths = set(values.value_lengths().to_pylist())
        require(len(lengths) <= 1 and None not in lengths, f"rows of the column {name!r} differ in length")
        count *= next(iter(lengths), 0)
        values = values.flatten()
        require(len(values) == count, f"rows of the column {name!r} differ in length")
    kind = values.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    require(numeric and values.null_count == 0, f"the column {name!r} holds no numbers, or nulls")
    require(len(values) == len(table) * width, f"rows of the column {name!r} do not have {width} numbers")
    plain: NDArray[np.generic] = values.to_numpy(zero_copy_only=False)
    return plain.reshape(len(table), width)
