"""The numbers of a LeRobot dataset that Volano wrote, without its pictures: as stated beside the rows, and the rows."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from volano.data.normalize import Quantiles, spanning
from volano.errors import Code, DataError

FloatArray = NDArray[np.float32]
_STATE, _ACTION = "observation.state", "action"
_BATCH_ROWS = 1 << 15
"""So many rows at least are read at a time, where there are as many."""


def stated_quantiles(folder: Path) -> tuple[Quantiles, Quantiles]:
    """Of state and action, over all rows, each once: equal to `normalize.quantiles` of them. Raises
    DataError(E-DATA-013) when the dataset states none."""
    try:
        stated = json.loads((folder / "meta" / "stats.json").read_bytes())
        state, action = (
            spanning(*(np.array(stated[name][share], np.float64) for share in ("q01", "q99")))
            for name in (_STATE, _ACTION)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"the dataset states no quantiles: {error}"
        raise DataError(Code.DATA_VERSION, cause, "materialize its version again") from error
    return state, action


def recorded_rows(folder: Path) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Actions and states of each episode in order, (T, channels) each: a row group of the file at a time."""
    for path in sorted((folder / "data").glob("*/*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[_STATE, _ACTION])
                yield matrix(table[_ACTION]), matrix(table[_STATE])


def batches(file: pq.ParquetFile) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Actions and states of the rows in a table of frames, (rows, channels) each: many episodes at a time, since what a
    single one costs would grow with how many there are."""
    groups, rows = list[int](), 0
    for group in range(file.num_row_groups):
        groups.append(group)
        rows += file.metadata.row_group(group).num_rows
        if rows >= _BATCH_ROWS or group == file.num_row_groups - 1:
            table = file.read_row_groups(groups, columns=[_STATE, _ACTION], use_threads=False)
            yield matrix(table[_ACTION]), matrix(table[_STATE])
            groups, rows = [], 0


def together(pieces: Iterable[tuple[FloatArray, FloatArray]]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The same rows in larger pieces: what one costs would grow with how many parts there are."""
    held, rows = list[tuple[FloatArray, FloatArray]](), 0
    for piece in pieces:
        held.append(piece)
        rows += len(piece[0])
        if rows >= _BATCH_ROWS:
            yield _joined(held)
            held, rows = [], 0
    if held:
        yield _joined(held)


def _joined(pieces: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    actions, states = zip(*pieces, strict=True)
    return np.concatenate(actions), np.concatenate(states)


def matrix(column: pa.ChunkedArray) -> FloatArray:
    """A column of vectors, or of single numbers, as (rows, channels)."""
    rows = len(column)
    flat = column.combine_chunks()
    values = flat.flatten() if pa.types.is_fixed_size_list(column.type) else flat
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(rows, -1)
