"""How much an episode adds to the mutual information between states and actions: k nearest neighbours. Pure.

After Hejna et al., "Robot Data Curation with Mutual Information Estimators" (arXiv 2502.08623), whose estimator is that
of Kraskov, Stögbauer and Grassberger (Physical Review E 69, 066138), and ties as in Gao, Kannan, Oh and Viswanath
(NeurIPS 2017). Theirs look at learned embeddings and pictures; this looks at the channels themselves.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from volano.data.curation.features import Features

_NEIGHBOURS = (5, 6, 7)
_BATCH = 1024
"""Ticks that are compared with each other: an estimate relative to the same number, whatever the size of the set."""
_PASSES = 4
_CLIP = (1, 99)
"""Percentiles beyond which one tick's contribution is cut off."""


def information(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Mean contribution of each episode's ticks, in nats, (n,). Batches are drawn by content and tick, so that nothing
    depends on the order of the episodes."""
    owners = np.repeat(np.arange(len(episodes)), [len(one.state) for one in episodes])
    state = _standard(np.concatenate([one.state for one in episodes]))
    action = _standard(np.concatenate([one.action for one in episodes]))
    total = np.zeros(len(owners))
    for number in range(_PASSES):
        order = np.argsort(_draw(episodes, number), kind="stable")
        for batch in np.array_split(order, max(1, round(len(order) / _BATCH))):
            total[batch] += contributions(state[batch], action[batch])
    clipped = np.clip(total / _PASSES, *np.percentile(total / _PASSES, _CLIP))
    sums = np.bincount(owners, weights=clipped, minlength=len(episodes))
    return np.asarray(sums / np.bincount(owners, minlength=len(episodes)))


def contributions(state: NDArray[np.float64], action: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each of N samples adds to the estimate, whose mean is the mutual information in nats, (N,); state and action
    are (N, channels). 0 where there are too few samples."""
    number = len(state)
    if number <= max(_NEIGHBOURS) + 1:
        return np.zeros(number)
    apart = _distances(state), _distances(action)
    joint = np.maximum(*apart)
    most = max(_NEIGHBOURS) + 1
    nearest = np.sort(np.partition(joint, most, axis=1)[:, :most], axis=1)  # the first is the sample itself
    return np.asarray(np.mean([_contribution(apart, joint, nearest[:, k], k) for k in _NEIGHBOURS], axis=0))


def _contribution(
    apart: tuple[NDArray[np.float64], NDArray[np.float64]],
    joint: NDArray[np.float64],
    radius: NDArray[np.float64],
    k: int,
) -> NDArray[np.float64]:
    """With the k-th neighbour at `radius`; where that is 0, with all those that are the same."""
    number = len(radius)
    within = [np.count_nonzero(one < radius[:, None], axis=1) - 1 for one in apart]
    found = digamma(k) + digamma(number) - digamma(np.maximum(within[0], 0) + 1) - digamma(np.maximum(within[1], 0) + 1)
    tied = radius == 0
    same, in_state, in_action = (np.count_nonzero(one[tied] == 0, axis=1) for one in (joint, *apart))
    found[tied] = digamma(same) + np.log(number) - np.log(in_state) - np.log(in_action)
    return np.asarray(found)


def _distances(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean, (N, N); exactly 0 between equal rows."""
    found = np.zeros((len(values), len(values)))
    for column in values.T:
        found += np.subtract.outer(column, column) ** 2
    return np.asarray(np.sqrt(found))


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each channel with mean 0 and deviation 1; a constant one is 0. Rounded, so that equal values stay equal."""
    centred, deviation = values - values.mean(axis=0), values.std(axis=0)
    return np.asarray(np.where(deviation > 1e-9, centred / np.maximum(deviation, 1e-9), 0.0).round(9))


def _draw(episodes: Sequence[Features], number: int) -> NDArray[np.float64]:
    """A number for each tick that orders it among all, (ticks,). The legacy generator's numbers never change."""
    drawn = []
    for one in episodes:
        seed = hashlib.sha256(f"{number}:{one.content_id}".encode()).digest()
        drawn.append(np.random.RandomState(list(seed)).random_sample(len(one.state)))
    return np.concatenate(drawn)
