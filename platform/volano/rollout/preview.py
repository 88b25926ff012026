"""Which robots a rollout will touch, and when: the same exposure that assigns, asked before anything begins."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volano.rollout.assign import percent_at
from volano.rollout.exposure import DENIED, EXPOSED, PINNED, REASONS, UNSELECTED, Fleet, exclusions
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep, Rollout, ShadowStep, Step


@dataclass(frozen=True, kw_only=True)
class Touch:
    """What one step does to the fleet."""

    step: str
    means: str
    exposed: tuple[str, ...]
    """Robots that run the candidate in turn with the policy in place, or beside it."""
    added: tuple[str, ...]
    """Of those, the ones that the step before did not touch."""
    left: dict[str, int]
    """Why the other robots are left alone, and how many of them."""


def touches(document: Rollout, robots: Sequence[tuple[str, str, str]]) -> tuple[Touch, ...]:
    """Step by step, for enrolled robots of the document's embodiments as (name, site, fingerprint). Tasks are not
    looked at: a robot is exposed for those that the document names."""
    names, fleet = tuple(name for name, _, _ in robots), Fleet.of(robots)
    found: list[Touch] = []
    before: set[str] = set()
    for position, step in enumerate(document.steps):
        percent = 100.0
        if isinstance(step, CanaryStep | HoldStep):
            percent = percent_at(document, position, step.kind)
        reasons = exclusions(document, percent, fleet)
        if isinstance(step, ShadowStep):
            touched = np.flatnonzero(~np.isin(reasons, (PINNED, DENIED, UNSELECTED)))
        else:
            touched = np.flatnonzero(reasons == EXPOSED) if percent else np.zeros(0, dtype=np.int64)
        inside = set(touched.tolist())
        exposed = tuple(names[at] for at in touched)
        left = Counter(REASONS[reasons[at]] or step.kind for at in range(len(names)) if at not in inside)
        added = tuple(name for name in exposed if name not in before)
        found.append(Touch(step=step.kind, means=_meaning(step), exposed=exposed, added=added, left=dict(left)))
        if not isinstance(step, ShadowStep):
            before = set(exposed)
    kept = Counter("pinned" for name in names if name in document.pins)
    promoted = tuple(name for name in names if name not in document.pins)
    means = "every robot of these embodiments runs the candidate, asked by "
    means += "the evidence" if document.promotion == "evidence" else "a person"
    added = tuple(name for name in promoted if name not in before)
    return (*found, Touch(step="promote", means=means, exposed=promoted, added=added, left=dict(kept)))


def _meaning(step: Step) -> str:
    match step:
        case ShadowStep(min_episodes=number):
            return f"the candidate answers beside, unheard, in {number} episodes"
        case CanaryStep(percent=percent, min_episodes=number):
            return f"{percent:g} % run both policies in turn, until {number} episodes of the candidate"
        case HoldStep(seconds=seconds):
            return f"nothing changes for {seconds:g} s" if seconds else "nothing changes until a person resumes"
        case ABTestStep(min_blocks=least, max_blocks=most):
            return f"all that may run both policies in turn, {least} to {most} pairs"
