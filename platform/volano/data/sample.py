"""Which ticks a training step sees: a pure function of (index, seed, step), the same for any number of workers.

Each embodiment has its own shuffled order, reshuffled every epoch, and a fixed share of every batch; a worker takes
its slice of the batch. Resuming needs no state but the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.data.spans import Spans, mask_of
from volano.errors import Code, TrainError


@dataclass(frozen=True, kw_only=True)
class TickIndex:
    """Every usable tick of one embodiment."""

    episodes: NDArray[np.int64]
    """Shape (n,): position of the episode in its list."""
    ticks: NDArray[np.int64]
    """Shape (n,)."""

    def __len__(self) -> int:
        return len(self.ticks)


def quotas(shares: Mapping[str, float], batch: int) -> dict[str, int]:
    """Whole rows per embodiment in a batch, by largest remainder; at least one each."""
    if not shares or batch < len(shares) or any(share <= 0 for share in shares.values()):
        raise TrainError(
            Code.TRAIN_DATA,
            f"a batch of {batch} cannot hold the shares {dict(shares)}",
            "give every embodiment a positive share and the batch at least one row for each",
        )
    total = sum(shares.values())
    exact = {name: share / total * (batch - len(shares)) for name, share in shares.items()}
    rows = {name: 1 + int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder[: batch - sum(rows.values())]:
        rows[name] += 1
    return rows


def usable_ticks(
    segments: Sequence[NDArray[np.str_]], succeeded: Sequence[bool], skipped: Sequence[Spans]
) -> TickIndex:
    """What may be imitated: every tick an expert drove, and autonomous ticks of attempts that needed no help.

    `segments[i]` names the kind of control at each tick of episode i; `succeeded[i]` is true when the whole attempt
    was autonomous and successful; `skipped[i]` are the ticks that its version takes no sample from. A failed autonomous
    tick is never imitated, an intervention never left out unless its version says so.
    """
    episodes, ticks = [], []
    for number, (kinds, success, spans) in enumerate(zip(segments, succeeded, skipped, strict=True)):
        usable = np.flatnonzero(((kinds != "autonomous") | success) & ~mask_of(spans, len(kinds)))
        episodes.append(np.full(len(usable), number, np.int64))
        ticks.append(usable.astype(np.int64))
    return TickIndex(episodes=np.concatenate(episodes), ticks=np.concatenate(ticks))


def rows_of_step(length: int, quota: int, seed: int, step: int) -> NDArray[np.int64]:
    """Positions in an index of `length` that step `step` consumes, shape (quota,); each epoch is a permutation."""
    positions = np.arange(step * quota, (step + 1) * quota)
    rows = np.empty(quota, np.int64)
    for epoch in np.unique(positions // length):
        order = np.random.default_rng((seed, int(epoch))).permutation(length)
        here = positions // length == epoch
        rows[here] = order[positions[here] % length]
    return rows
