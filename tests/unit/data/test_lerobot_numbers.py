"""Rows of a table of frames come in order, many episodes at a time, whatever its row groups are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volano.data.lerobot_numbers import batches


@pytest.mark.parametrize("lengths", [[1], [7, 1, 30], [20_000] * 4, [40_000, 5]])
def test_all_rows_come_once_and_in_order(tmp_path: Path, lengths: list[int]) -> None:
    rows = np.arange(sum(lengths), dtype=np.float32)
    columns = {
        "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(rows.repeat(2)), 2),
        "action": pa.array(-rows),
        "other": pa.array(rows),
    }
    table, start = pa.table(columns), 0
    with pq.ParquetWriter(tmp_path / "rows.parquet", table.schema) as writer:
        for length in lengths:
            writer.write_table(table.slice(start, length), row_group_size=length)
            start += length
    with pq.ParquetFile(tmp_path / "rows.parquet") as file:
        assert file.num_row_groups == len(lengths)
        pieces = list(batches(file))
    assert np.array_equal(np.concatenate([action for action, _ in pieces]), -rows[:, None])
    assert np.array_equal(np.concatenate([state for _, state in pieces]), rows.repeat(2).reshape(-1, 2))
    assert len(pieces) <= 1 + len(rows) // (1 << 15)
