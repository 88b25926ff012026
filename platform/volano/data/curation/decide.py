"""Decides a curation: from episodes with their features and what is asked, to what becomes of each and why. Pure.

The rules are asked one after another, each of those that the ones before have left; the floor of each task comes last,
so that no rule, nor all together, can take out a task or an embodiment. Nothing depends on the order of the episodes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from volano.data.curation.config import Curation
from volano.data.curation.features import Features, imitable
from volano.data.curation.neighbours import (
    farthest_first,
    hashes,
    motion_distances,
    motions,
    picture_distances,
)
from volano.data.curation.plan import Decision, Plan, Rule
from volano.data.curation.scores import SCORES
from volano.data.curation.trim import skippable
from volano.data.episode import Manifest
from volano.data.spans import Spans, mask_of
from volano.embodiment.contract import Embodiment
from volano.storage.content import canonical_json, sha256_bytes

_DIGITS = 6
"""Significant digits of a score in the plan: the last ones of a sum depend on the processor."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One accepted episode, as a curation sees it."""

    manifest: Manifest
    embodiment: Embodiment
    features: Features | None
    """None when nothing of it may be imitated."""


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """An episode that the rules are asked about."""

    manifest: Manifest
    features: Features
    scores: dict[str, float]
    skipped: Spans
    left: int
    """Ticks that may be imitated and are not skipped."""

    @property
    def name(self) -> str:
        return self.manifest.content_id

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Of two alike the first is kept: a success before a failure, then the longer one."""
        return not self.manifest.outcome.success, -self.left, self.name


_Dropped = dict[str, tuple[Rule, str]]
"""Content identifier to the rule that drops it, and the reason in words."""


def decide(episodes: Iterable[Episode], config: Curation) -> Plan:
    """What becomes of each episode."""
    ordered = sorted(episodes, key=lambda one: (one.manifest.fingerprint, one.manifest.content_id))
    decisions: list[Decision] = []
    for _, group in groupby(ordered, key=lambda one: one.manifest.fingerprint):
        decisions += _embodiment(list(group), config)
    return Plan(
        config=config,
        inputs=_digest(ordered),
        decisions=tuple(sorted(decisions, key=lambda decision: decision.content_id)),
    )


def _embodiment(episodes: Sequence[Episode], config: Curation) -> list[Decision]:
    scored = _scored(episodes, config)
    dropped: _Dropped = {}
    for rule in (_still, _near_duplicates, _roughest, _least_informative, _covered):
        dropped |= rule([one for one in scored if one.name not in dropped], config)
    floor = _floor(scored, dropped, config.floor)
    novel = _novel([one for one in scored if one.name not in dropped or one.name in floor], config)
    known = {one.name: one for one in scored}
    return [
        _decision(one.manifest, known[one.manifest.content_id], dropped, floor, novel, config)
        if one.manifest.content_id in known
        else _unimitated(one.manifest)
        for one in episodes
    ]


def _scored(episodes: Sequence[Episode], config: Curation) -> list[_Scored]:
    present = [(one, one.features) for one in episodes if one.features is not None]
    features = [found for _, found in present]
    columns = {name: score(features) for name, score in SCORES.items()} if features else {}
    scored = []
    for number, (one, found) in enumerate(present):
        skipped = skippable(one.manifest, found.still, config.idle)
        left = imitable(one.manifest) & ~mask_of(skipped, one.manifest.frames)
        scores = {name: float(f"{column[number]:.{_DIGITS}g}") for name, column in columns.items()}
        scored.append(
            _Scored(manifest=one.manifest, features=found, scores=scores, skipped=skipped, left=int(left.sum()))
        )
    return scored


def _still(episodes: Sequence[_Scored], _config: Curation) -> _Dropped:
    return {one.name: ("still", "nothing moves in any tick that could be imitated") for one in episodes if not one.left}


def _near_duplicates(episodes: Sequence[_Scored], config: Curation) -> _Dropped:
    """Of those with one instruction, each in order of rank is compared with those that were kept before it."""
    limits, dropped = config.duplicates, _Dropped()
    for _, group in _grouped(episodes, lambda one: one.manifest.instruction):
        ranked = sorted(group, key=lambda one: one.rank)
        points, codes = motions([one.features for one in ranked]), hashes([one.features for one in ranked])
        kept: list[int] = []
        for number, one in enumerate(ranked):
            near = [
                k
                for k, gap in zip(kept, motion_distances(points[number], points[kept]), strict=True)
                if gap < limits.motion
            ]
            seen = picture_distances(codes[number], codes[near]) if near else np.empty(0)
            if near and seen.min() < limits.pictures:
                original = ranked[near[int(seen.argmin())]].name
                gap = float(motion_distances(points[number], points[[near[int(seen.argmin())]]])[0])
                reason = f"near duplicate of {original}: motion {gap:.3g}, pictures {seen.min():.3g} apart"
                dropped[one.name] = ("near duplicate", reason)
            else:
                kept.append(number)
    return dropped


def _roughest(episodes: Sequence[_Scored], config: Curation) -> _Dropped:
    return _lowest(episodes, "smoothness", config.drop_roughest, "rough")


def _least_informative(episodes: Sequence[_Scored], config: Curation) -> _Dropped:
    return _lowest(episodes, "information", config.drop_least_informative, "uninformative")


def _lowest(episodes: Sequence[_Scored], score: str, share: float, rule: Rule) -> _Dropped:
    dropped = _Dropped()
    for _, group in _grouped(episodes, lambda one: one.manifest.task):
        number = int(share * len(group))
        for one in sorted(group, key=lambda one: (one.scores[score], one.name))[:number]:
            reason = f"{score} {one.scores[score]:.3g}: among the lowest {number} of its task's {len(group)}"
            dropped[one.name] = (rule, reason)
    return dropped


def _covered(episodes: Sequence[_Scored], config: Curation) -> _Dropped:
    if not config.most_episodes or len(episodes) <= config.most_episodes:
        return {}
    points = motions([one.features for one in episodes])
    order, _ = farthest_first(points)
    kept, rest = order[: config.most_episodes], order[config.most_episodes :]
    dropped = _Dropped()
    for number in rest:
        gaps = motion_distances(points[number], points[kept])
        nearest = episodes[kept[int(gaps.argmin())]].name
        dropped[episodes[number].name] = ("covered", f"covered by {nearest}: motion {gaps.min():.3g} apart")
    return dropped


def _floor(episodes: Sequence[_Scored], dropped: _Dropped, least: int) -> set[str]:
    """What stays all the same: of each task of which too few would be left, the first in rank; what stands still only
    where there is nothing else."""
    stays: set[str] = set()
    for _, group in _grouped(episodes, lambda one: one.manifest.task):
        out = sorted((one for one in group if one.name in dropped), key=lambda one: (not one.left, one.rank))
        stays |= {one.name for one in out[: max(0, least - (len(group) - len(out)))]}
    return stays


def _novel(episodes: Sequence[_Scored], config: Curation) -> set[str]:
    found: set[str] = set()
    for _, group in _grouped(episodes, lambda one: one.manifest.task):
        first = sorted(group, key=lambda one: (-one.scores["novelty"], one.name))
        found |= {one.name for one in first[: int(config.novel_share * len(group))]}
    return found if config.weights.novel > 1 else set()


def _decision(
    manifest: Manifest, one: _Scored, dropped: _Dropped, floor: set[str], novel: set[str], config: Curation
) -> Decision:
    rule, reason = dropped.get(one.name, ("kept", "no rule takes it out"))
    skipped = one.skipped if one.left else ()
    if one.name in floor:
        rule, reason = "floor", f"{reason}; it stays because too few of task {manifest.task!r} would be left"
    elif rule != "kept":
        return _made(manifest, rule, 0.0, reason, (), one.scores)
    weight, said = 1.0, [reason]
    kinds = {segment.kind for segment in manifest.segments}
    if kinds >= {"autonomous", "intervention"} and config.weights.intervention > 1:
        weight *= config.weights.intervention
        said.append(f"weight x{config.weights.intervention}: a person helped")
    if one.name in novel:
        weight *= config.weights.novel
        said.append(f"weight x{config.weights.novel}: novelty {one.scores['novelty']:.3g}")
    if skipped:
        said.append(f"{sum(end - start for start, end in skipped)} ticks skipped: nothing moves")
    return _made(manifest, rule, weight, "; ".join(said), skipped, one.scores)


def _unimitated(manifest: Manifest) -> Decision:
    return _made(manifest, "not imitated", 1.0, "a record: no tick of it is imitated", (), {})


def _made(
    manifest: Manifest, rule: Rule, weight: float, reason: str, skipped: Spans, scores: dict[str, float]
) -> Decision:
    return Decision(
        content_id=manifest.content_id,
        embodiment=manifest.fingerprint,
        task=manifest.task,
        rule=rule,
        weight=weight,
        reason=reason,
        skipped=skipped,
        scores=scores,
    )


def _grouped(episodes: Sequence[_Scored], key: Callable[[_Scored], str]) -> list[tuple[str, list[_Scored]]]:
    return [(name, list(group)) for name, group in groupby(sorted(episodes, key=lambda one: (key(one), one.name)), key)]


def _digest(ordered: Sequence[Episode]) -> str:
    inputs = {
        one.manifest.content_id: [
            sha256_bytes(one.manifest.to_bytes()),
            sha256_bytes(one.features.to_bytes()) if one.features else "",
        ]
        for one in ordered
    }
    return sha256_bytes(canonical_json(inputs))
