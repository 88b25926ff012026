"""What the episodes of a rollout say, as log e-values: evidence that may be looked at after every episode.

Episodes are compared within blocks of one robot and one task, so robots and tasks may differ as they like. Evidence
is a set: every number is recomputed from all outcomes in one canonical order (block, robot, task), so that the order
of arrival, late uploads and repeats change nothing. What is missing counts against promoting the candidate; what
never arrived is no evidence of harm.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Self

import numpy as np

from volano.rollout.assign import planned_arm
from volano.rollout.betting import log_wealth
from volano.rollout.outcome import Outcome, ShadowOutcome, merge, merge_shadow
from volano.rollout.plan import Rollout
from volano.storage.content import canonical_json, sha256_bytes

_DECIMALS = 9
"""Log e-values are rounded, so that the last bits of a machine's logarithm change no verdict's digest."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Every outcome that arrived so far, by episode."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    shadows: Mapping[str, ShadowOutcome] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over all outcomes, whatever their order of arrival."""
        plain = [[found[episode].to_json() for episode in sorted(found)] for found in (self.outcomes, self.shadows)]
        return sha256_bytes(canonical_json(plain))

    def extended(self, outcomes: Iterable[Outcome], shadows: Iterable[ShadowOutcome] = ()) -> Self:
        """This evidence and more; an episode that is known already is merged, not counted again."""
        measured, shadowed = dict(self.outcomes), dict(self.shadows)
        for outcome in outcomes:
            known = measured.get(outcome.episode)
            measured[outcome.episode] = outcome if known is None else merge(known, outcome)
        for shadow in shadows:
            beside = shadowed.get(shadow.episode)
            shadowed[shadow.episode] = shadow if beside is None else merge_shadow(beside, shadow)
        return replace(self, outcomes=measured, shadows=shadowed)


def update(evidence: Evidence, outcome: Outcome | ShadowOutcome) -> Evidence:
    """Evidence with one more outcome; the same outcome twice changes nothing."""
    if isinstance(outcome, ShadowOutcome):
        return evidence.extended((), (outcome,))
    return evidence.extended((outcome,))


@dataclass(frozen=True, kw_only=True)
class Block:
    """One pair of episodes of a robot and task; at least one of them has arrived."""

    index: int
    robot: str
    task: str
    a: Outcome | None
    b: Outcome | None
    passed: bool
    """The robot has gone on to a later block, so that what is absent here is missing, not under way."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """A log e-value after each piece of evidence, in canonical order, for display; the last one decides."""

    values: tuple[float, ...]

    @property
    def final(self) -> float:
        """Log e-value of all the evidence; 0 when there is none."""
        return self.values[-1] if self.values else 0.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there is."""

    blocks: int = 0
    """Pairs that the promotion tests use."""
    complete: int = 0
    """Pairs with both labels."""
    candidate_episodes: int
    """Labelled episodes under the candidate."""
    candidate_successes: int
    current_episodes: int
    current_successes: int
    robots: int
    """Robots with a labelled candidate episode."""
    candidate_hours: float
    """Robot-hours of the labelled candidate episodes."""
    safety_stops: int
    """In every episode that ran the candidate, planned or not."""
    unlabelled: int
    """Planned episodes without a label."""
    set_aside: int = 0
    """Outcomes whose arm is not the planned one, or whose policy is not the arm's."""
    repeated: int = 0
    """Outcomes set aside because another episode has their robot, task and counter."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Evidence weighed: each path is the log of an e-process, to be compared with log(1 / alpha)."""

    superiority: Path
    """Against `the candidate is nowhere better`."""
    noninferiority: Path
    """Against `the candidate is worse by the margin or more`."""
    harm: Path
    """Against `the candidate is nowhere worse`, by success."""
    floor: Path
    """Against `the candidate succeeds at least as often as the declared floor`."""
    interventions: Path
    """Against `the candidate needs no more interventions per hour`."""
    sample_ratio: Path
    """Against `either arm's episodes go missing equally often`."""
    task_harm: dict[str, float]
    """Final log e-value of harm within each task."""
    counts: Counts


def weigh(document: Rollout, evidence: Evidence) -> Weights:
    """Everything the judge needs, from all the outcomes; a pure function of its arguments."""
    planned, set_aside, repeated = _planned(document, evidence)
    blocks = _blocks(planned)
    pairs = [(block.a, block.b) for block in blocks if block.a is not None and block.b is not None]
    usable = [block for block in blocks if block.passed or (block.a is not None and block.b is not None)]
    gains = np.array([_gain(block.a, block.b) for block in usable], dtype=np.float64)
    harms = [(a.task, -_gain(a, b)) for a, b in pairs if a.success is not None]
    floor = document.guardrails.floor
    one_sided = [block for block in usable if block.a is None or block.b is None]
    return Weights(
        superiority=_path(gains),
        noninferiority=_path(gains + document.margin),
        harm=_path([harm for _, harm in harms]),
        floor=_path([floor - (o.success is True) for o in planned if o.arm == "B"], largest_loss=1.0 - floor),
        interventions=_path([_intervention_shift(a, b) for a, b in pairs if _has_interventions(a, b)]),
        sample_ratio=_path([1 if block.b is None else -1 for block in one_sided], two_sided=True),
        task_harm={
            task: _path([harm for name, harm in harms if name == task]).final for task in sorted({t for t, _ in harms})
        },
        counts=replace(
            _count(document, evidence, planned),
            blocks=len(usable),
            complete=sum(a.success is not None and b.success is not None for a, b in pairs),
            set_aside=set_aside,
            repeated=repeated,
        ),
    )


def _planned(document: Rollout, evidence: Evidence) -> tuple[list[Outcome], int, int]:
    """Outcomes that ran the planned arm's policy, one per robot, task and counter, in canonical order; and how many
    were set aside as unplanned, and as repeated."""
    policies = {"A": document.current, "B": document.candidate}
    slots: dict[tuple[int, str, str], Outcome] = {}
    set_aside = 0
    for episode in sorted(evidence.outcomes):
        outcome = evidence.outcomes[episode]
        arm = planned_arm(document.salt, outcome.robot, outcome.task, outcome.counter)
        if outcome.arm != arm or outcome.policy != policies[arm]:
            set_aside += 1
        else:
            slots.setdefault((outcome.counter, outcome.robot, outcome.task), outcome)
    repeated = len(evidence.outcomes) - set_aside - len(slots)
    ordered = sorted(slots.values(), key=lambda outcome: (outcome.block, outcome.robot, outcome.task, outcome.counter))
    return ordered, set_aside, repeated


def _blocks(planned: list[Outcome]) -> list[Block]:
    last: dict[tuple[str, str], int] = {}
    for outcome in planned:
        stratum = (outcome.robot, outcome.task)
        last[stratum] = max(last.get(stratum, 0), outcome.block)
    blocks = []
    for (index, robot, task), members in groupby(planned, key=lambda o: (o.block, o.robot, o.task)):
        arms = {outcome.arm: outcome for outcome in members}
        passed = index < last[robot, task]
        blocks.append(Block(index=index, robot=robot, task=task, a=arms.get("A"), b=arms.get("B"), passed=passed))
    return blocks


def _gain(a: Outcome | None, b: Outcome | None) -> int:
    """Candidate's success minus current's: -1, 0 or 1. A missing label fails the candidate and passes the current."""
    candidate_success = b is not None and b.success is True
    current_success = a is None or a.success is not False
    return int(candidate_success) - int(current_success)


def _has_interventions(a: Outcome, b: Outcome) -> bool:
    return a.interventions + b.interventions > 0 and a.duration_s > 0 and b.duration_s > 0


def _intervention_shift(a: Outcome, b: Outcome) -> float:
    """Which arm had the block's interventions, weighted by exposure: within [-1, 1].

    Given the number of interventions, each is the candidate's with its share of the block's time as probability, if
    the rates are equal; the mean is then 0. It is also 0 when interventions come in clusters and the arms are alike,
    because the arms' order was drawn at random, so one bad episode is one observation and not twenty.
    """
    events = a.interventions + b.interventions
    longest = max(a.duration_s, b.duration_s)
    return (b.interventions * a.duration_s - a.interventions * b.duration_s) / (events * longest)


def _path(increments: Iterable[float], *, largest_loss: float = 1.0, two_sided: bool = False) -> Path:
    values = log_wealth(np.array(list(increments), dtype=np.float64), largest_loss=largest_loss, two_sided=two_sided)
    return Path(values=tuple(round(float(value), _DECIMALS) for value in values))


def _count(document: Rollout, evidence: Evidence, planned: list[Outcome]) -> Counts:
    labelled = [outcome for outcome in planned if outcome.success is not None]
    candidate = [outcome for outcome in labelled if outcome.arm == "B"]
    current = [outcome for outcome in labelled if outcome.arm == "A"]
    ran_candidate = [outcome for outcome in evidence.outcomes.values() if outcome.policy == document.candidate]
    return Counts(
        candidate_episodes=len(candidate),
        candidate_successes=sum(outcome.success is True for outcome in candidate),
        current_episodes=len(current),
        current_successes=sum(outcome.success is True for outcome in current),
        robots=len({outcome.robot for outcome in candidate}),
        candidate_hours=math.fsum(outcome.duration_s for outcome in candidate) / 3600.0,
        safety_stops=sum(outcome.safety_stops for outcome in ran_candidate),
        unlabelled=len(planned) - len(labelled),
    )
