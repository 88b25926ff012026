"""What of the fleet's harvest the next round learns from, and how much of it: failures and interventions first.

An intervention shows what to do where the policy failed, so it is drawn more often. A failed attempt that nobody took
over holds nothing to imitate; it stays in the version as the record of what went wrong, and training takes no tick of
it, as it takes none of an autonomous stretch that ended in an intervention.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from volano.data.episode import Manifest

Reason = Literal["demonstration", "intervention", "failure", "success"]
WEIGHTS: dict[Reason, float] = {"demonstration": 1.0, "intervention": 3.0, "failure": 1.0, "success": 1.0}


@dataclass(frozen=True, kw_only=True)
class Mined:
    """The selection of a dataset version."""

    weights: dict[str, float]
    """Content identifier to sampling weight."""
    reasons: dict[str, int]
    """How many episodes stand there for which reason."""


def reason(manifest: Manifest) -> Reason:
    """Why an episode is worth keeping."""
    kinds = {segment.kind for segment in manifest.segments}
    if "autonomous" not in kinds:
        return "demonstration"
    if "intervention" in kinds:
        return "intervention"
    return "success" if manifest.outcome.success else "failure"


def mine(manifests: Iterable[Manifest]) -> Mined:
    """Weigh every accepted episode."""
    found = {manifest.content_id: reason(manifest) for manifest in manifests}
    return Mined(
        weights={content: WEIGHTS[why] for content, why in sorted(found.items())},
        reasons=dict(sorted(Counter(found.values()).items())),
    )
