"""The rules of a curation: each takes the episodes of one embodiment that are left, and says which go and why. Pure.

Episodes come in order of content_id; of equals the first in it is treated first, so that nothing depends on a listing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from volano.data.curation.config import Curation
from volano.data.curation.features import Features
from volano.data.curation.neighbours import (
    exchange_gains,
    farthest_first,
    hashes,
    motion_distances,
    motions,
    picture_distances,
)
from volano.data.curation.plan import Rule
from volano.data.episode import Manifest
from volano.data.spans import Spans


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An episode that the rules are asked about."""

    manifest: Manifest
    features: Features
    scores: dict[str, float]
    skipped: Spans
    left: int
    """Ticks that may be imitated and are not skipped."""

    @property
    def name(self) -> str:
        """Its content identifier."""
        return self.manifest.content_id

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Of two alike the first is kept: a success before a failure, then the longer one."""
        return not self.manifest.outcome.success, -self.left, self.name


Dropped = dict[str, tuple[Rule, str]]
"""Content identifier to the rule that drops it, and the reason in words."""


def still(episodes: Sequence[Scored], _config: Curation) -> Dropped:
    """Those of which nothing is left to imitate."""
    return {one.name: ("still", "nothing moves in any tick that could be imitated") for one in episodes if not one.left}


def swapped_cameras(episodes: Sequence[Scored], config: Curation) -> Dropped:
    """Those whose pictures fit those of the others that are left better when two cameras are exchanged."""
    dropped = Dropped()
    if not config.swapped_cameras or not episodes:
        return dropped
    codes = hashes([one.features for one in episodes])
    for number, one in enumerate(episodes):
        if one.scores["exchange_gain"] <= 0:  # by far the most: to look at each again costs as much as the score
            continue
        gains = exchange_gains(number, codes)
        pair = max(gains, key=gains.__getitem__, default=None)
        if pair is not None and gains[pair] >= config.swapped_cameras:
            cameras = f"cameras {pair[0] + 1} and {pair[1] + 1} of the contract"
            reason = f"{cameras} show what the other one shows elsewhere: {gains[pair]:.3g} nearer when exchanged"
            dropped[one.name] = ("swapped cameras", reason)
    return dropped


def near_duplicates(episodes: Sequence[Scored], config: Curation) -> Dropped:
    """Of those with one instruction, each in order of rank is compared with those that were kept before it."""
    limits, dropped = config.duplicates, Dropped()
    for group in _grouped(episodes, lambda one: one.manifest.instruction):
        ranked = sorted(group, key=lambda one: one.rank)
        points, codes = motions([one.features for one in ranked]), hashes([one.features for one in ranked])
        kept: list[int] = []
        for number, one in enumerate(ranked):
            gaps = motion_distances(points[number], points[kept])
            close = np.flatnonzero(gaps < limits.motion)
            seen = picture_distances(codes[number], codes[kept][close])
            alike = int(seen.argmin()) if len(seen) else 0
            if len(seen) and seen[alike] < limits.pictures:
                original, gap = ranked[kept[close[alike]]].name, gaps[close[alike]]
                reason = f"near duplicate of {original}: motion {gap:.3g}, pictures {seen[alike]:.3g} apart"
                dropped[one.name] = ("near duplicate", reason)
            else:
                kept.append(number)
    return dropped


def roughest(episodes: Sequence[Scored], config: Curation) -> Dropped:
    """The least smooth share of each task."""
    return _lowest(episodes, "smoothness", config.drop_roughest, "rough")


def least_informative(episodes: Sequence[Scored], config: Curation) -> Dropped:
    """The share of each task that informs least."""
    return _lowest(episodes, "information", config.drop_least_informative, "uninformative")


def covered(episodes: Sequence[Scored], config: Curation) -> Dropped:
    """What is left when so many are taken, farthest first."""
    if not config.most_episodes or len(episodes) <= config.most_episodes:
        return {}
    points = motions([one.features for one in episodes])
    order, _ = farthest_first(points)
    kept, rest = order[: config.most_episodes], order[config.most_episodes :]
    dropped = Dropped()
    for number in rest:
        gaps = motion_distances(points[number], points[kept])
        nearest = episodes[kept[int(gaps.argmin())]].name
        dropped[episodes[number].name] = ("covered", f"covered by {nearest}: motion {gaps.min():.3g} apart")
    return dropped


RULES: tuple[Callable[[Sequence[Scored], Curation], Dropped], ...] = (
    still,
    swapped_cameras,
    near_duplicates,
    roughest,
    least_informative,
    covered,
)
"""In the order in which they are asked."""


def floor(episodes: Sequence[Scored], dropped: Dropped, least: int) -> set[str]:
    """What stays all the same: of each task of which too few would be left, the first in rank; what stands still only
    where there is nothing else. What shows other cameras than it says is wrong, and stays for no task's sake."""
    stays: set[str] = set()
    for group in _grouped(episodes, lambda one: one.manifest.task):
        sound = [one for one in group if one.name not in dropped or dropped[one.name][0] != "swapped cameras"]
        out = sorted((one for one in sound if one.name in dropped), key=lambda one: (not one.left, one.rank))
        stays |= {one.name for one in out[: max(0, least - (len(sound) - len(out)))]}
    return stays


def novel(episodes: Sequence[Scored], share: float) -> set[str]:
    """The most novel share of each task."""
    found: set[str] = set()
    for group in _grouped(episodes, lambda one: one.manifest.task):
        first = sorted(group, key=lambda one: (-one.scores["novelty"], one.name))
        found |= {one.name for one in first[: int(share * len(group))]}
    return found


def _lowest(episodes: Sequence[Scored], score: str, share: float, rule: Rule) -> Dropped:
    dropped = Dropped()
    for group in _grouped(episodes, lambda one: one.manifest.task):
        number = int(share * len(group))
        for one in sorted(group, key=lambda one: (one.scores[score], one.name))[:number]:
            reason = f"{score} {one.scores[score]:.3g}: among the lowest {number} of its task's {len(group)}"
            dropped[one.name] = (rule, reason)
    return dropped


def _grouped(episodes: Sequence[Scored], key: Callable[[Scored], str]) -> list[list[Scored]]:
    return [list(group) for _, group in groupby(sorted(episodes, key=key), key)]
