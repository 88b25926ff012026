"""Parts of the report made from what the library has: a rollout's evidence, a training run's journal, evaluations.

Pure but for reading the journal. Rollouts are told from the same functions that judged them.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from volano.evaluate.report import Evaluation
from volano.flywheel.gate import GateDecision
from volano.flywheel.summary import (
    PAIRS,
    EvidencePath,
    GateStory,
    LossCurve,
    Role,
    RolloutStory,
    Success,
    VerdictMark,
)
from volano.rollout.evidence import Evidence
from volano.rollout.machine import Verdict
from volano.rollout.paths import paths as paths_of
from volano.rollout.plan import Rollout
from volano.train.journal import read_journal


def rollout_story(document: Rollout, evidence: Evidence, verdicts: Sequence[Verdict]) -> RolloutStory:
    """A rollout's evidence paths and verdicts, from its document, all its evidence and its verdicts in order."""
    found = paths_of(evidence)
    guard = document.guardrails
    paths = [
        _path("superiority", "the candidate is better", found.superiority, document.alpha, PAIRS),
        _path("non-inferiority", f"not worse by {document.margin:g}", found.noninferiority, document.alpha, PAIRS),
        _path("harm", "the candidate is worse", found.harm, guard.harm_alpha, PAIRS),
        _path(
            "interventions",
            "the candidate needs more of them per hour",
            found.interventions,
            guard.harm_alpha,
            "pairs with an intervention",
        ),
        _path(
            "sample ratio",
            "one arm's episodes go missing more often",
            found.sample_ratio,
            guard.sample_ratio_alpha,
            "pairs with one episode missing",
        ),
    ]
    if guard.floor > 0:
        claim = f"success is below the floor of {guard.floor:g}"
        paths.append(_path("floor", claim, found.floor, guard.floor_alpha, "candidate episodes"))
    return RolloutStory(
        id=document.id,
        current=document.current,
        candidate=document.candidate,
        paths=tuple(paths),
        marks=tuple(
            VerdictMark(pairs=int(verdict.numbers.get("blocks", 0)), kind=verdict.kind, reason=verdict.reason)
            for verdict in verdicts
            if verdict.kind != "hold"
        ),
        looks=len(verdicts),
        numbers=verdicts[-1].numbers if verdicts else {},
    )


def success_rows(evaluations: Sequence[tuple[str, Evaluation]]) -> tuple[Success, ...]:
    """Rows of named evaluations, for example (("round 1", ...), ("round 2", ...)), group by group; baselines and
    expert, which are the same for all, are taken from the last."""
    roles: dict[str, tuple[str, Role]] = {
        "hold": ("holding still", "baseline"),
        "random": ("random chunks", "baseline"),
        "expert": ("scripted expert", "expert"),
    }
    rows = [
        Success(group=one.group, actor=name, role="policy", successes=one.success.successes, episodes=one.success.n)
        for name, evaluation in evaluations
        for one in evaluation.successes
        if one.actor == "policy"
    ]
    for one in evaluations[-1][1].successes if evaluations else ():
        if one.actor in roles:
            name, role = roles[one.actor]
            counts = one.success
            rows.append(Success(group=one.group, actor=name, role=role, successes=counts.successes, episodes=counts.n))
    return tuple(rows)


def gate_story(decision: GateDecision) -> GateStory:
    """A decision of the gate."""
    return GateStory(
        policy=decision.candidate, passed=decision.passed, reason=decision.reason, criteria=decision.criteria
    )


def loss_curves(run: str, journal: Path) -> tuple[LossCurve, ...]:
    """The loss over all robots, then each robot's, from a training run's journal."""
    points = read_journal(journal)
    names = sorted({name for _, _, metrics in points for name in metrics if name.split("_")[0] == "loss"})
    return tuple(
        LossCurve(
            name=f"{run}, {name.removeprefix('loss_') if name != 'loss' else 'all robots'}",
            points=tuple((step, metrics[name]) for step, _, metrics in points if name in metrics),
        )
        for name in names
    )


def _path(name: str, claim: str, values: tuple[float, ...], alpha: float, pieces: str) -> EvidencePath:
    return EvidencePath(name=name, claim=claim, values=values, needed=-math.log(alpha), pieces=pieces)
