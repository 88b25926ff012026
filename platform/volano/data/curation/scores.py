"""Every score: a function from the features of an embodiment's episodes to one number for each, in the same order.

A new score is one such function and one line in SCORES; the conformance test holds for every line there: finite, the
same for the same episodes in any order, and nothing else looked at.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volano.data.curation.features import Features
from volano.data.curation.information import information
from volano.data.curation.neighbours import (
    FARTHEST_MOTION,
    FARTHEST_PICTURES,
    exchange_gains,
    farthest_first,
    hashes,
    motion_distances,
    motions,
    picture_distances,
)

Score = Callable[[Sequence[Features]], NDArray[np.float64]]
_CLOSE = 5
"""Episodes that say whether one is new."""


def motion_gap(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Distance to the nearest other episode in states and actions: 0 for a copy, 2 at most."""
    return _gaps(motions(episodes), motion_distances, FARTHEST_MOTION)


def picture_gap(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Distance to the nearest other episode in pictures: the share of a hash's bits that differ."""
    return _gaps(hashes(episodes), picture_distances, FARTHEST_PICTURES)


def exchange_gain(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """By how much better two cameras' pictures fit those of other episodes when they are exchanged: the share of a
    hash's bits, 0 for one camera or too few episodes."""
    codes = hashes(episodes)
    return np.array([max(exchange_gains(number, codes).values(), default=0.0) for number in range(len(codes))])


def smoothness(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Spectral arc length of the speed: 0 or less, and the lower the rougher."""
    return np.array([one.smoothness for one in episodes])


def stillness(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Ticks of the episode in which nothing moves."""
    return np.array([float(sum(end - start for start, end in one.still)) for one in episodes])


def novelty(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """Mean distance in states and actions to the five nearest other episodes: the higher the rarer."""
    points = motions(episodes)
    found = np.full(len(points), FARTHEST_MOTION)
    if len(points) > 1:
        for number, point in enumerate(points):
            others = np.delete(motion_distances(point, points), number)
            found[number] = np.sort(others)[:_CLOSE].mean()
    return found


def coverage(episodes: Sequence[Features]) -> NDArray[np.float64]:
    """What each adds when episodes are taken farthest first: its distance from all that were taken before."""
    by_content = sorted(range(len(episodes)), key=lambda number: episodes[number].content_id)
    order, gaps = farthest_first(motions([episodes[number] for number in by_content]))
    found = np.empty(len(episodes))
    found[np.array(by_content)[order]] = gaps
    return found


SCORES: Mapping[str, Score] = {
    "motion_gap": motion_gap,
    "picture_gap": picture_gap,
    "exchange_gain": exchange_gain,
    "smoothness": smoothness,
    "stillness": stillness,
    "information": information,
    "novelty": novelty,
    "coverage": coverage,
}


def _gaps(
    points: NDArray[np.generic],
    distances: Callable[..., NDArray[np.float64]],
    alone: float,
) -> NDArray[np.float64]:
    found = np.full(len(points), alone)
    if len(points) > 1:
        for number, point in enumerate(points):
            found[number] = np.delete(distances(point, points), number).min()
    return found
