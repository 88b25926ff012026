"""In which order a stage goes through the usable ticks of one embodiment: a pure function of (index, seed, step).

Both orders take every row once an epoch, and neither knows how many workers there are. `uniform` draws each row on its
own, which is the best shuffle and the dearest to decode: for one picture all before it in its group. `blocks` draws
blocks of neighbouring ticks and mixes each place of the batch within a window of steps, so that whoever decodes a
window decodes each group once.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.data.sample import TickIndex

OrderKind = Literal["uniform", "blocks"]
BLOCK_TICKS = 15
"""Ticks of a block: as many as a group of the recorder's videos."""
WINDOW_STEPS = 4 * BLOCK_TICKS
"""Steps of a window; a place of the batch mixes as many rows, which are about four blocks."""
_UNIFORM_STEPS = 8
"""Steps that are worth decoding together where they share hardly anything."""


class Order(Protocol):
    """The rows of every step."""

    @property
    def span(self) -> int:
        """Steps to decode together, from a multiple of it on."""
        ...

    def rows(self, step: int) -> NDArray[np.int64]:
        """Positions in the index that a step takes, shape (quota,)."""
        ...


def order_of(kind: OrderKind, index: TickIndex, quota: int, seed: int) -> Order:
    """The order of that name, of `quota` rows in each step."""
    return BlockOrder(index, quota, seed) if kind == "blocks" else UniformOrder(len(index), quota, seed)


class UniformOrder:
    """Each epoch is a random permutation; like `rows_of_step`, which remembers none."""

    span = _UNIFORM_STEPS

    def __init__(self, length: int, quota: int, seed: int) -> None:
        self._length, self._quota, self._seed = length, quota, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def rows(self, step: int) -> NDArray[np.int64]:
        """As the protocol says."""
        positions = np.arange(step * self._quota, (step + 1) * self._quota)
        found = np.empty(self._quota, np.int64)
        for epoch in np.unique(positions // self._length):
            here = positions // self._length == epoch
            found[here] = self._of_epoch(int(epoch))[positions[here] % self._length]
        return found

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng((self._seed, epoch)).permutation(self._length)
            self._epoch = epoch
        return self._permutation


class BlockOrder:
    """Each epoch, blocks in random order make one sequence, of which each place of the batch goes through a part of its
    own; within a window of steps it does so in random order.

    So the rows of a step are of as many blocks, and a place of the batch, hence a worker, keeps to blocks that no
    other decodes.
    """

    span = WINDOW_STEPS

    def __init__(self, index: TickIndex, quota: int, seed: int) -> None:
        self._length, self._quota, self._seed = len(index), quota, seed
        blocks = index.ticks // BLOCK_TICKS
        changes = (np.diff(index.episodes) != 0) | (np.diff(blocks) != 0)
        self._starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        self._lengths = np.diff([*self._starts, len(index)])
        self._epochs: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._window, self._rows = -1, np.empty((0, quota), np.int64)

    def rows(self, step: int) -> NDArray[np.int64]:
        """As the protocol says."""
        window, place = divmod(step, WINDOW_STEPS)
        if window != self._window:
            self._rows, self._window = self._of_window(window), window
        found: NDArray[np.int64] = self._rows[place]
        return found

    def _of_window(self, window: int) -> NDArray[np.int64]:
        """Rows of each step and place, shape (WINDOW_STEPS, quota)."""
        length, quota = self._length, self._quota
        steps = np.arange(window * WINDOW_STEPS, (window + 1) * WINDOW_STEPS)
        positions = steps[:, None] * quota + np.arange(quota)
        epochs, offsets = np.divmod(positions, length)
        whole, rest = divmod(length, quota)
        parts = offsets % quota
        sequence = parts * whole + np.minimum(parts, rest) + offsets // quota
        keys = np.random.default_rng((self._seed, window, 1)).random(positions.shape) + (epochs - epochs[0, 0])
        mixed = np.take_along_axis(sequence, np.argsort(keys, axis=0), axis=0)  # an epoch stays before the next one
        found = np.empty_like(mixed)
        for epoch in np.unique(epochs):
            found[epochs == epoch] = self._of_sequence(int(epoch), mixed[epochs == epoch])
        self._epochs = {epoch: order for epoch, order in self._epochs.items() if epoch >= epochs.max()}
        return found

    def _of_sequence(self, epoch: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows that stand at these places of an epoch's sequence of blocks."""
        if epoch not in self._epochs:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._starts))
            self._epochs[epoch] = order, np.cumsum(self._lengths[order])
        order, ends = self._epochs[epoch]
        number = np.searchsorted(ends, places, side="right")
        block = order[number]
        found: NDArray[np.int64] = self._starts[block] + self._lengths[block] - (ends[number] - places)
        return found
