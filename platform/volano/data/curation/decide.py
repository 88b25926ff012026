"""Decides a curation: from episodes with their features and what is asked, to what becomes of each and why. Pure.

The rules are asked one after another, each of those that the ones before have left; the floor of each task comes last,
so that no rule, nor all together, can take out a task or an embodiment whose pictures are its own. Nothing depends on
the order of the episodes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from volano.data.curation.config import Curation
from volano.data.curation.features import Features, imitable
from volano.data.curation.plan import Decision, Plan, Rule
from volano.data.curation.rules import RULES, Dropped, Scored, floor, novel
from volano.data.curation.scores import SCORES
from volano.data.curation.trim import skippable
from volano.data.episode import Manifest
from volano.data.spans import mask_of
from volano.storage.content import canonical_json, sha256_bytes

_DIGITS = 6
"""Significant digits of a score in the plan: the last ones of a sum depend on the processor."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One accepted episode, as a curation sees it."""

    manifest: Manifest
    features: Features | None
    """None when nothing of it may be imitated."""


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
    dropped: Dropped = {}
    for rule in RULES:
        dropped |= rule([one for one in scored if one.name not in dropped], config)
    stays = floor(scored, dropped, config.floor)
    kept = [one for one in scored if one.name not in dropped or one.name in stays]
    rare = novel(kept, config.novel_share)
    found = {one.name: _kept(one, dropped, one.name in rare, config) for one in kept}
    gone = {one.name: _gone(one, *dropped[one.name]) for one in scored if one.name not in found}
    records = [_record(one.manifest) for one in episodes if one.features is None]
    return [*found.values(), *gone.values(), *records]


def _scored(episodes: Sequence[Episode], config: Curation) -> list[Scored]:
    present = [(one.manifest, one.features) for one in episodes if one.features is not None]
    features = [found for _, found in present]
    columns = {name: score(features) for name, score in SCORES.items()} if features else {}
    scored = []
    for number, (manifest, found) in enumerate(present):
        skipped = skippable(manifest, found.still, config.idle)
        left = imitable(manifest) & ~mask_of(skipped, manifest.frames)
        scores = {name: float(f"{column[number]:.{_DIGITS}g}") for name, column in columns.items()}
        scored.append(Scored(manifest=manifest, features=found, scores=scores, skipped=skipped, left=int(left.sum())))
    return scored


def _kept(one: Scored, dropped: Dropped, rare: bool, config: Curation) -> Decision:
    rule: Rule = "kept"
    weight, said = 1.0, ["no rule takes it out"]
    if one.name in dropped:
        rule = "floor"
        said = [dropped[one.name][1], f"it stays because too few of task {one.manifest.task!r} would be left"]
    if {segment.kind for segment in one.manifest.segments} >= {"autonomous", "intervention"}:
        weight *= config.weights.intervention
        said.append(f"weight x{config.weights.intervention}: a person helped")
    if rare and config.weights.novel > 1:
        weight *= config.weights.novel
        said.append(f"weight x{config.weights.novel}: novelty {one.scores['novelty']:.3g}")
    skipped = one.skipped if one.left else ()
    if skipped:
        said.append(f"{sum(end - start for start, end in skipped)} ticks skipped: nothing moves")
    return Decision(
        content_id=one.name,
        embodiment=one.manifest.fingerprint,
        task=one.manifest.task,
        rule=rule,
        weight=weight,
        reason="; ".join(said),
        skipped=skipped,
        scores=one.scores,
    )


def _gone(one: Scored, rule: Rule, reason: str) -> Decision:
    return Decision(
        content_id=one.name,
        embodiment=one.manifest.fingerprint,
        task=one.manifest.task,
        rule=rule,
        weight=0.0,
        reason=reason,
        skipped=(),
        scores=one.scores,
    )


def _record(manifest: Manifest) -> Decision:
    return Decision(
        content_id=manifest.content_id,
        embodiment=manifest.fingerprint,
        task=manifest.task,
        rule="not imitated",
        weight=1.0,
        reason="a record: no tick of it is imitated",
        skipped=(),
        scores={},
    )


def _digest(ordered: Sequence[Episode]) -> str:
    inputs = {
        one.manifest.content_id: [
            sha256_bytes(one.manifest.to_bytes()),
            sha256_bytes(one.features.to_bytes()) if one.features else "",
        ]
        for one in ordered
    }
    return sha256_bytes(canonical_json(inputs))
