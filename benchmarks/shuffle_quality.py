"""How well the order of blocks shuffles, held against the uniform one: computed from the orders, nothing is timed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volano.data.order import BLOCK_TICKS, WINDOW_STEPS, Order, order_of
from volano.data.sample import TickIndex

_EPISODES, _TICKS, _BATCH, _SEEDS = 400, 150, 64, 5


def quality() -> list[dict[str, object]]:
    """Rows for a report, of 400 episodes of 150 ticks and batches of 64."""
    index = TickIndex(episodes=np.repeat(np.arange(_EPISODES), _TICKS), ticks=np.tile(np.arange(_TICKS), _EPISODES))
    pairs = [
        (order_of("blocks", index, _BATCH, seed), order_of("uniform", index, _BATCH, seed)) for seed in range(_SEEDS)
    ]
    epoch = range(len(index) // _BATCH)
    mixed = [tuple(_episodes_of_a_batch(index, one, epoch) for one in pair) for pair in pairs]
    stretches = [tuple(_blocks_of_a_window(index, one) for one in pair) for pair in pairs]
    ranks = [abs(_rank_correlation(blocks, epoch)) for blocks, _ in pairs]
    return [
        _row("effective episodes of a batch, blocks over uniform", [a / b for a, b in mixed], "higher", 0.9),
        _row(f"blocks of {WINDOW_STEPS} steps, blocks over uniform", [a / b for a, b in stretches], "higher", None),
        _row("rank correlation of an epoch's order with the files'", ranks, "lower", 0.05),
    ]


def _episodes_of_a_batch(index: TickIndex, order: Order, steps: range) -> float:
    """Effective number of episodes: the inverse chance that two samples of a batch are of one."""
    found = []
    for step in steps:
        _, counts = np.unique(index.episodes[order.rows(step)], return_counts=True)
        found.append(_BATCH**2 / (counts**2).sum())
    return float(np.mean(found))


def _blocks_of_a_window(index: TickIndex, order: Order) -> float:
    rows = np.concatenate([order.rows(step) for step in range(WINDOW_STEPS)])
    return float(len(np.unique(index.episodes[rows] * _TICKS + index.ticks[rows] // BLOCK_TICKS)))


def _rank_correlation(order: Order, steps: range) -> float:
    rows: NDArray[np.int64] = np.concatenate([order.rows(step) for step in steps])
    return float(np.corrcoef(np.argsort(np.argsort(rows)), np.arange(len(rows)))[0, 1])


def _row(metric: str, values: Sequence[float], better: str, must: float | None) -> dict[str, object]:
    return {
        "metric": metric,
        "ratio": float(np.mean(values)),
        "low": float(np.min(values)),
        "high": float(np.max(values)),
        "unit": "over seeds, least to most",
        "n": len(values),
        "better": better,
        "must": must,
        "aim": must,
    }
