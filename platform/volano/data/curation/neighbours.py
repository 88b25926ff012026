"""How far apart episodes are: in which states and actions they visit, and in what their cameras saw. Pure.

The distance of motions is that of kernel mean embeddings (maximum mean discrepancy; Gretton et al., JMLR 13, 2012) by
random Fourier features (Rahimi and Recht, 2007). It does not see in which order or how fast ticks follow each other, so
that a copy that starts later, or pauses, is near.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from volano.data.curation.features import Features

FARTHEST_MOTION, FARTHEST_PICTURES = 2.0, 1.0
"""What a distance says where there is no other episode."""
_BITS = 64
_FEWEST_OTHERS = 4
"""Episodes that can say which camera is which."""
_AGREE = 0.6
"""Share of them that has to say so: of two halves neither is right."""


def motions(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Points whose Euclidean distance is that of the motions, 0 to 2, (n, OCCUPANCY)."""
    return np.stack([one.occupancy for one in episodes])


def hashes(episodes: Sequence[Features]) -> NDArray[np.uint64]:
    """(n, cameras, SAMPLED_PICTURES)."""
    return np.stack([one.pictures for one in episodes])


def motion_distances(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """From a point to (n, OCCUPANCY) others, (n,)."""
    return np.asarray(np.linalg.norm(others - one, axis=1))


def picture_distances(one: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.float64]:
    """From an episode's (cameras, pictures) hashes to (n, cameras, pictures) others', (n,): the share of bits by which
    a picture differs from the other's nearest, the mean over pictures and cameras; of the two directions the smaller,
    so that a part is near its whole."""
    differing = np.bitwise_count(one[None, :, :, None] ^ others[:, :, None, :])
    there = differing.min(axis=3).mean(axis=(1, 2))
    back = differing.min(axis=2).mean(axis=(1, 2))
    return np.asarray(np.minimum(there, back) / _BITS)


def exchange_gains(number: int, codes: NDArray[np.uint64]) -> dict[tuple[int, int], float]:
    """Of an episode among the (n, cameras, pictures) hashes of all: for each two cameras, by how much nearer their
    pictures come to those of the others when the two are exchanged, -1 to 1: what three fifths of the others reach.
    With fewer than four others it is 0."""
    mine, others = codes[number], np.delete(codes, number, axis=0)
    pairs = combinations(range(len(mine)), 2)
    if len(mine) < 2 or len(others) < _FEWEST_OTHERS:
        return dict.fromkeys(pairs, 0.0)
    cameras = range(len(mine))
    apart = np.array([[picture_distances(mine[[a]], others[:, [b]]) for b in cameras] for a in cameras])
    return {
        (a, b): float(np.quantile(apart[a, a] + apart[b, b] - apart[a, b] - apart[b, a], 1 - _AGREE)) / 2
        for a, b in pairs
    }


def farthest_first(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Greedy k-centers (Gonzalez, 1985) over (n, d) points: the order in which they are chosen, and how far each then
    is from all before it, both (n,). It begins with the point nearest to the mean; of equals the first is taken."""
    order, gaps = np.empty(len(points), np.int64), np.empty(len(points))
    nearest = np.full(len(points), np.inf)
    chosen, gap = int(np.argmin(motion_distances(points.mean(axis=0), points))), FARTHEST_MOTION
    for position in range(len(points)):
        order[position], gaps[position] = chosen, gap
        nearest = np.minimum(nearest, motion_distances(points[chosen], points))
        nearest[chosen] = -1.0
        chosen = int(np.argmax(nearest))
        gap = float(nearest[chosen])
    return order, gaps
