"""Both orders take every tick once an epoch, wherever they begin; blocks keep a place of the batch to few blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.data.order import BLOCK_TICKS, WINDOW_STEPS, BlockOrder, UniformOrder, order_of
from volano.data.sample import TickIndex, rows_of_step

KINDS = st.sampled_from(["uniform", "blocks"])


def index_of(lengths: list[int]) -> TickIndex:
    """Episodes of these lengths, every tick usable."""
    return TickIndex(
        episodes=np.repeat(np.arange(len(lengths)), lengths),
        ticks=np.concatenate([np.arange(length) for length in lengths]),
    )


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.integers(1, 40), st.integers(0, 3), KINDS)
def test_each_epoch_takes_every_row_once(lengths: list[int], quota: int, seed: int, kind: str) -> None:
    index = index_of(lengths)
    order = order_of("blocks" if kind == "blocks" else "uniform", index, quota, seed)
    steps = -(-2 * len(index) // quota)
    rows = np.concatenate([order.rows(step) for step in range(steps)])
    assert sorted(rows[: len(index)]) == list(range(len(index)))
    assert sorted(rows[len(index) : 2 * len(index)]) == list(range(len(index)))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.integers(1, 40), KINDS, st.lists(st.integers(0, 400)))
def test_a_step_takes_the_same_rows_whatever_was_asked_before(
    lengths: list[int], quota: int, kind: str, before: list[int]
) -> None:
    index = index_of(lengths)
    asked, fresh = (order_of("blocks" if kind == "blocks" else "uniform", index, quota, 1) for _ in range(2))
    for step in before:
        asked.rows(step)
    assert np.array_equal(asked.rows(123), fresh.rows(123))


def test_uniform_is_the_order_of_the_library() -> None:
    order = UniformOrder(50, 7, 3)
    for step in range(20):
        assert np.array_equal(order.rows(step), rows_of_step(50, 7, 3, step))


@pytest.mark.parametrize("quota", [1, 8, 32])
def test_a_place_of_the_batch_keeps_to_few_blocks_and_shares_them_with_no_other(quota: int) -> None:
    index = index_of([150] * 80)
    order = BlockOrder(index, quota, 0)
    rows = np.stack([order.rows(step) for step in range(WINDOW_STEPS)])
    blocks = index.episodes[rows] * 1000 + index.ticks[rows] // BLOCK_TICKS
    assert max(len(set(blocks[:, place])) for place in range(quota)) <= WINDOW_STEPS // BLOCK_TICKS + 1
    shared = sum(len(set(blocks[:, place])) for place in range(quota)) - len(set(blocks.reshape(-1)))
    assert shared <= quota, "neighbours share the block at which they meet, and no other"
    assert len(set(index.episodes[rows[0]])) > 0.75 * min(quota, 80) or quota == 1


def test_weights_repeat_a_row() -> None:
    index = TickIndex(episodes=np.zeros(6, np.int64), ticks=np.repeat(np.arange(3), 2))
    order = BlockOrder(index, 4, 0)
    rows = np.concatenate([order.rows(step) for step in range(3)])
    assert sorted(index.ticks[rows]) == sorted([0, 0, 1, 1, 2, 2] * 2)
