"""Why one version holds other episodes than another: each change, and the reason given for it. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from volano.data.version import DatasetVersion, ancestors, diff

Kind = Literal["added", "removed", "reweighted"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened to one episode."""

    kind: Kind
    content_id: str
    before: float
    """Its weight in the old version; 0 when it was not there."""
    after: float
    reason: str
    """Of the last version that made this change."""


def path(versions: Sequence[DatasetVersion], old: DatasetVersion, new: DatasetVersion) -> tuple[DatasetVersion, ...]:
    """From the old version to the new one, child by child; the two alone when one does not descend from the other."""
    back = [new, *ancestors(versions, new)]
    names = [version.id for version in back]
    return tuple(reversed(back[: names.index(old.id) + 1])) if old.id in names else (old, new)


def changes(way: Sequence[DatasetVersion]) -> Iterator[Change]:
    """What the last version of a way has over its first, episode by episode, in order of kind and content."""
    reasons: dict[str, str] = {}
    for before, after in pairwise(way):
        step = diff(before, after)
        reasons |= dict.fromkeys((*step.added, *step.removed, *step.reweighted), after.reason)
    whole, old, new = diff(way[0], way[-1]), _weights(way[0]), _weights(way[-1])
    kinds: Mapping[Kind, tuple[str, ...]] = {
        "added": whole.added,
        "removed": whole.removed,
        "reweighted": whole.reweighted,
    }
    for kind, contents in kinds.items():
        for content in contents:
            yield Change(
                kind=kind,
                content_id=content,
                before=old.get(content, 0.0),
                after=new.get(content, 0.0),
                reason=reasons[content],
            )


def numbers(found: Sequence[Change], robots: Mapping[str, str]) -> dict[tuple[Kind, str, str], int]:
    """Kind, robot and reason to number of episodes; `robots` maps contents to robots."""
    return dict(sorted(Counter((one.kind, robots[one.content_id], one.reason) for one in found).items()))


def _weights(version: DatasetVersion) -> dict[str, float]:
    return {episode.content_id: episode.weight for episode in version.episodes}
