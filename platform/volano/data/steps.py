"""Reading a bundle's table of ticks into arrays, with the exact schema or not at all.

The file is hostile until it was read in the sandbox once: sizes are compared before data is loaded, nulls and
foreign types are refused, and nothing of Arrow's metadata is kept.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.episode import STEPS_FILE
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError

_MAX_TABLE_BYTES = 512 << 20
_MAX_THRIFT_BYTES = 16 << 20
_TEXTS = ("segment", "policy", "request", "executed")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """T ticks of an episode."""

    frame_index: NDArray[np.int64]
    timestamp: NDArray[np.float64]
    """Seconds from the episode's start, (T,)."""
    state: NDArray[np.float32]
    """(T, state channels), physical units."""
    action: NDArray[np.float32]
    """(T, action channels), physical units, recorded frame."""
    segment: list[str]
    policy: list[str]
    request: list[str]
    executed: list[str]


def steps_schema(state_channels: int, action_channels: int) -> pa.Schema:
    """The one schema that a table of ticks may have."""
    return pa.schema(
        [
            ("frame_index", pa.int64()),
            ("timestamp", pa.float64()),
            ("state", pa.list_(pa.float32(), state_channels)),
            ("action", pa.list_(pa.float32(), action_channels)),
            *((name, pa.string()) for name in _TEXTS),
        ]
    )


def read_steps(source: Path | bytes, embodiment: Embodiment, *, frames: int) -> Steps:
    """Read a table of ticks, from its file or all of its bytes; raises DataError: E-DATA-002 when it has not `frames`
    rows, E-DATA-005 when it is not exactly a table of this embodiment's ticks."""
    state_channels, action_channels = len(embodiment.state), len(embodiment.action)
    try:
        table = _read_table(source, steps_schema(state_channels, action_channels), frames)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            Code.DATA_SCHEMA, f"{STEPS_FILE} is not a table of ticks: {error}", "record the episode again"
        ) from error
    return Steps(
        frame_index=table["frame_index"].to_numpy(),
        timestamp=table["timestamp"].to_numpy(),
        state=_matrix(table["state"], state_channels),
        action=_matrix(table["action"], action_channels),
        **{name: table[name].to_pylist() for name in _TEXTS},
    )


def _read_table(source: Path | bytes, expected: pa.Schema, frames: int) -> pa.Table:
    with pq.ParquetFile(
        pa.BufferReader(source) if isinstance(source, bytes) else source,
        thrift_string_size_limit=_MAX_THRIFT_BYTES,
        thrift_container_size_limit=_MAX_THRIFT_BYTES,
    ) as file:
        if file.schema_arrow.names != expected.names:
            raise ValueError(f"columns are {file.schema_arrow.names}")
        for field in expected:
            actual = file.schema_arrow.field(field.name).type
            if not _same_type(actual, field.type):
                raise ValueError(f"column {field.name!r} is {actual}, not {field.type}")
        if file.metadata.num_rows != frames:
            raise DataError(
                Code.DATA_FRAME_COUNT, f"{file.metadata.num_rows} rows for {frames} frames", "record the episode again"
            )
        groups = (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > _MAX_TABLE_BYTES:
            raise ValueError(f"the table is larger than {_MAX_TABLE_BYTES} bytes")
        table = file.read(use_threads=False).combine_chunks()
    table.validate(full=True)
    if len(table) != frames:
        raise ValueError(f"the table announces {frames} rows and holds {len(table)}")
    for name in table.column_names:
        if _has_null(table[name]):
            raise ValueError(f"column {name!r} has nulls")
    return table


def _same_type(actual: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(expected):  # the item's field name and nullability are the writer's choice
        return bool(
            pa.types.is_fixed_size_list(actual)
            and actual.list_size == expected.list_size
            and actual.value_type == expected.value_type
        )
    return bool(actual == expected)


def _has_null(column: pa.ChunkedArray) -> bool:
    if column.null_count:
        return True
    nested = pa.types.is_fixed_size_list(column.type)
    return nested and any(chunk.flatten().null_count for chunk in column.chunks)


def _matrix(column: pa.ChunkedArray, channels: int) -> NDArray[np.float32]:
    pieces = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    values = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1, channels)
