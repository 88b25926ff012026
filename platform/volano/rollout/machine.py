"""The judge: from document, state, evidence and time to the next state and a verdict with its numbers.

Pure, so that simulation, production and replay run the same code. Promotion needs positive evidence and comes only
out of the A/B test; harm is looked for first, in every state; no data is a hold; a test that ends without evidence
goes to a human. Inconclusive never ships.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, Self, assert_never, get_args

from volano.errors import Code, RolloutError
from volano.rollout.betting import tripped
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Action
from volano.rollout.outcome import Outcome, ShadowOutcome, Stopped
from volano.rollout.plan import ABTestStep, CanaryStep, HoldStep, Rollout, ShadowStep, Step
from volano.rollout.record import Record
from volano.rollout.state import (
    ABTest,
    Canary,
    Hold,
    NeedsHuman,
    Promoted,
    RolledBack,
    Running,
    Shadow,
    State,
    state_to_json,
)
from volano.rollout.weights import Weights, weigh
from volano.storage.content import canonical_json, sha256_bytes

JUDGE = "volano.judge.6"
"""Version of these rules; it changes whenever a verdict on the same inputs would."""
_DOUBT = math.log(2)
"""Log e-value of harm in one task that holds a promotion back, long before it would roll back."""
_COMPLETE = 0.8
"""Share of the pairs that must have both labels before a promotion: of the rest nobody knows how it went."""
_AWAITED = 0.25
"""Pairs, as a share of the complete ones, whose candidate's episode may still be awaited at a promotion: those that
failed may be the ones that come late."""
VerdictKind = Literal["advance", "promote", "hold", "rollback", "need_human"]
Decision = Literal["promote", "rollback", "resume"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided, why, on which numbers, from which inputs."""

    kind: VerdictKind
    """`advance` goes to the next step of the plan; `promote` ends the rollout with the candidate in place."""
    reason: str
    numbers: dict[str, float]
    """Counts, log e-values and the thresholds (`..._needed`) that they are compared with."""
    inputs: str
    """SHA-256 over judge, document, state, evidence and time."""

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-002)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_STATE, "verdict")
        kinds: tuple[VerdictKind, ...] = get_args(VerdictKind)
        plain = read.value("numbers")
        if not isinstance(plain, dict):
            raise read.refuse("numbers is not a map")
        numbers = Record(plain, set(plain), Code.ROLLOUT_STATE, "verdict's numbers")
        return cls(
            kind=read.one_of("kind", kinds),
            reason=read.text("reason"),
            numbers={name: numbers.number(name) for name in plain},
            inputs=read.text("inputs"),
        )


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What arrived between two looks, and when the second one was; or a person's decision, and when."""

    now: float
    outcomes: tuple[Outcome, ...] = ()
    shadows: tuple[ShadowOutcome, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    decision: Decision | None = None
    """What a person decided instead of a look."""
    operator: str = ""


def begin(document: Rollout, now: float) -> Running:
    """The state of a rollout that starts now, in its first step."""
    return _enter(document, 0, now)


def step(document: Rollout, state: State, evidence: Evidence, now: float) -> tuple[State, Verdict]:
    """One look: at most one transition. `now` is Unix time in seconds; `evidence` is of this document."""
    weights = _weigh(document, evidence)
    kind, reason = _judge(document, state, weights, now)
    verdict = Verdict(
        kind=kind,
        reason=reason,
        numbers=_numbers(document, weights),
        inputs=_inputs(document, state, evidence, now),
    )
    return _next(document, state, kind, reason, now), verdict


def decide(
    document: Rollout,
    state: State,
    evidence: Evidence,
    decision: Decision,
    operator: str,
    now: float,
) -> tuple[State, Verdict]:
    """A human's decision: rolling back is allowed in every state but the last, promoting only when a human is needed,
    resuming only in a hold.

    Raises RolloutError(E-ROLLOUT-002) otherwise.
    """
    allowed = {
        "promote": isinstance(state, NeedsHuman),
        "rollback": not isinstance(state, RolledBack),
        "resume": isinstance(state, Hold),
    }
    if not allowed[decision]:
        raise RolloutError(
            Code.ROLLOUT_STATE,
            f"rollout {document.id!r} is {state.kind!r} and cannot {decision} by hand",
            "look at the rollout's state; a rolled-back candidate needs a new rollout",
        )
    reason = f"{operator} decided to {decision}"
    kind: VerdictKind = "advance" if decision == "resume" else decision
    numbers, inputs = _numbers(document, _weigh(document, evidence)), _inputs(document, state, evidence, now)
    verdict = Verdict(kind=kind, reason=reason, numbers=numbers, inputs=inputs)
    return _next(document, state, kind, reason, now), verdict


def replay(document: Rollout, started: float, slices: Iterable[Slice]) -> list[Verdict]:
    """Every verdict of a rollout again, from the log of what arrived, of looks, and of what people decided."""
    state: State = begin(document, started)
    evidence = Evidence.of(document)
    verdicts = []
    for piece in slices:
        evidence = evidence.extended(piece.outcomes, piece.shadows, piece.stopped)
        if piece.decision is None:
            state, verdict = step(document, state, evidence, piece.now)
        else:
            state, verdict = decide(document, state, evidence, piece.decision, piece.operator, piece.now)
        verdicts.append(verdict)
    return verdicts


def _weigh(document: Rollout, evidence: Evidence) -> Weights:
    if evidence.document is not document and evidence.document != document:
        raise RolloutError(
            Code.ROLLOUT_EVIDENCE,
            f"this is evidence of another document than that of {document.id!r}",
            "gather it anew from Evidence.of(document)",
        )
    return weigh(evidence)


def _judge(document: Rollout, state: State, weights: Weights, now: float) -> tuple[VerdictKind, str]:
    if isinstance(state, RolledBack):
        return "hold", "rolled back already"
    if harm := _harm(document, weights):
        return "rollback", harm
    match state:
        case Promoted():
            return "hold", "promoted already"
        case NeedsHuman():
            return "hold", "waiting for a human"
        case Shadow() | Canary() | Hold() | ABTest():
            return _judge_running(document, state, weights, now)
    assert_never(state)


def _judge_running(document: Rollout, state: Running, weights: Weights, now: float) -> tuple[VerdictKind, str]:
    if weights.sample_ratio >= _needed(document.guardrails.sample_ratio_alpha):
        return "need_human", "the episodes of one arm go missing more often than those of the other"
    if paused := _tripped(document, weights, "pause"):
        return "need_human", f"guardrail {paused} is broken"
    plan = _plan_of(document, state)
    match plan:
        case ShadowStep():
            kind, reason = _judge_shadow(document, plan, weights)
        case CanaryStep():
            kind, reason = _judge_canary(plan, weights)
        case HoldStep():
            return _judge_hold(plan, state, now)
        case ABTestStep():
            kind, reason = _judge_test(document, plan, weights)
    if kind == "hold" and now - state.since > document.patience_s:
        return "need_human", f"the step lasts longer than {document.patience_s:g} s: {reason}"
    return kind, reason


def _plan_of(document: Rollout, state: Running) -> Step:
    plan = document.steps[state.step] if state.step < len(document.steps) else None
    if plan is None or plan.kind != state.kind:
        raise RolloutError(
            Code.ROLLOUT_STATE,
            f"step {state.step} of {document.id!r} is no {state.kind!r}",
            "load the state that belongs to this rollout",
        )
    return plan


def _harm(document: Rollout, weights: Weights) -> str:
    """Why the candidate must stop; empty when nothing says so."""
    guard, counts = document.guardrails, weights.counts
    if counts.safety_stops > guard.max_safety_stops:
        return f"{counts.safety_stops} safety stops under the candidate, {guard.max_safety_stops} tolerated"
    if counts.invalid:
        return f"{counts.invalid} invalid answers in shadow"
    if counts.candidate_episodes < document.minimum.episodes:
        return ""
    needed = _needed(guard.harm_alpha)
    if weights.harm >= needed:
        return "the candidate succeeds less often than the current policy"
    if weights.floor >= _needed(guard.floor_alpha):
        return f"the candidate's success is below the floor of {guard.floor:g}"
    if weights.interventions >= needed:
        return "the candidate needs more interventions per hour than the current policy"
    if weights.mean_task_harm >= needed:
        worst = max(weights.task_harm, key=lambda task: (weights.task_harm[task], task))
        return f"the candidate succeeds less often at {worst!r}"
    if broken := _tripped(document, weights, "rollback"):
        return f"guardrail {broken} is broken"
    return ""


def _tripped(document: Rollout, weights: Weights, action: Action) -> str:
    """The first guardrail of the team's own that is broken and has this consequence; empty when there is none."""
    if weights.counts.candidate_episodes < document.minimum.episodes:
        return ""
    broken = tripped([(one.name, weights.watched[one.name].log_e, one.alpha) for one in document.watch])
    return next((one.name for one in document.watch if one.name in broken and one.action == action), "")


def _judge_hold(plan: HoldStep, state: Running, now: float) -> tuple[VerdictKind, str]:
    if not plan.seconds:
        return "hold", "until a person resumes"
    left = plan.seconds - (now - state.since)
    return ("hold", f"{left:g} s of the pause are left") if left > 0 else ("advance", "the pause is over")


def _judge_shadow(document: Rollout, plan: ShadowStep, weights: Weights) -> tuple[VerdictKind, str]:
    counts, guard = weights.counts, document.guardrails
    if counts.shadowed < plan.min_episodes:
        return "hold", f"{counts.shadowed} of {plan.min_episodes} shadowed episodes"
    late, limit = counts.late / counts.answers, guard.max_late_share
    if late > limit:
        return "rollback", f"{late:.1%} of the shadow answers were late, {limit:.1%} tolerated"
    if 0 < guard.max_shadow_distance < counts.distance:
        return "rollback", f"the shadow acts {counts.distance:.3g} away, {guard.max_shadow_distance:g} tolerated"
    if 0 < guard.max_shadow_clamped < counts.clamped:
        found, most = counts.clamped, guard.max_shadow_clamped
        return "rollback", f"{found:.1%} of the shadow's values stand at a limit, {most:.1%} tolerated"
    return "advance", f"{counts.shadowed} shadowed episodes without an invalid answer"


def _judge_canary(plan: CanaryStep, weights: Weights) -> tuple[VerdictKind, str]:
    counts = weights.counts
    if counts.candidate_episodes < plan.min_episodes:
        return "hold", f"{counts.candidate_episodes} of {plan.min_episodes} candidate episodes"
    return "advance", f"{counts.candidate_episodes} candidate episodes without evidence of harm"


def _judge_test(document: Rollout, plan: ABTestStep, weights: Weights) -> tuple[VerdictKind, str]:
    counts, needed = weights.counts, _needed(document.alpha)
    lacking, shown = _lacking(document, plan, weights), ""
    if weights.superiority >= needed:
        shown = f"superior after {counts.blocks} pairs"
    elif counts.blocks >= plan.max_blocks and weights.noninferiority >= needed:
        shown = f"not worse by {document.margin:g} after {counts.blocks} pairs"
    if shown and not lacking:
        if counts.awaited > _AWAITED * counts.complete:
            return "hold", f"{shown}, but the candidate's episodes of {counts.awaited} more are awaited"
        return ("promote" if document.promotion == "evidence" else "need_human"), shown
    if counts.blocks < plan.max_blocks:
        return "hold", lacking or f"{counts.blocks} of at most {plan.max_blocks} pairs, not yet superior"
    return "need_human", f"{counts.blocks} pairs without evidence: {lacking or 'neither superior nor non-inferior'}"


def _lacking(document: Rollout, plan: ABTestStep, weights: Weights) -> str:
    counts, minimum = weights.counts, document.minimum
    wanted = (
        (counts.complete, max(plan.min_blocks, math.ceil(_COMPLETE * counts.blocks)), "complete pairs"),
        (counts.candidate_episodes, minimum.episodes, "candidate episodes"),
        (counts.task_pairs, minimum.task_pairs, "pairs in the task that has fewest"),
        (counts.robots, minimum.robots, "robots"),
        (counts.sites, minimum.sites, "sites"),
        (counts.candidate_hours, minimum.hours, "robot-hours"),
    )
    measured = [
        (weights.watched[one.name].n, minimum.episodes, f"episodes with {one.metric}")
        for one in document.watch
        if not one.is_rate
    ]
    lacking = [f"{have:g} of {want:g} {what}" for have, want, what in (*wanted, *measured) if have < want]
    doubted = [f"it looks worse at {task!r}" for task, weight in weights.task_harm.items() if weight >= _DOUBT]
    return ", ".join([*lacking, *doubted])


def _next(document: Rollout, state: State, kind: VerdictKind, reason: str, now: float) -> State:
    match kind:
        case "hold":
            return state
        case "advance":
            return _enter(document, state.step + 1, now) if isinstance(state, Shadow | Canary | Hold) else state
        case "promote":
            return Promoted(since=now, reason=reason)
        case "rollback":
            return RolledBack(since=now, reason=reason)
        case "need_human":
            return NeedsHuman(since=now, reason=reason)
    assert_never(kind)


def _enter(document: Rollout, position: int, now: float) -> Running:
    plan = document.steps[position]
    match plan:
        case ShadowStep():
            return Shadow(step=position, since=now)
        case CanaryStep():
            return Canary(step=position, since=now)
        case HoldStep():
            return Hold(step=position, since=now)
        case ABTestStep():
            return ABTest(step=position, since=now)
    assert_never(plan)


def _needed(alpha: float) -> float:
    return -math.log(alpha)


def _numbers(document: Rollout, weights: Weights) -> dict[str, float]:
    guard = document.guardrails
    finals = {
        "superiority": (weights.superiority, document.alpha),
        "noninferiority": (weights.noninferiority, document.alpha),
        "harm": (weights.harm, guard.harm_alpha),
        "mean_task_harm": (weights.mean_task_harm, guard.harm_alpha),
        "floor": (weights.floor, guard.floor_alpha),
        "interventions": (weights.interventions, guard.harm_alpha),
        "sample_ratio": (weights.sample_ratio, guard.sample_ratio_alpha),
        **{f"guard/{one.name}": (weights.watched[one.name].log_e, one.alpha) for one in document.watch},
    }
    numbers = {name: float(value) for name, value in asdict(weights.counts).items()}
    for name, (value, alpha) in finals.items():
        numbers[f"log_e_{name}"] = value
        numbers[f"log_e_{name}_needed"] = round(_needed(alpha), 9)
    for task, value in weights.task_harm.items():
        numbers[f"log_e_harm/{task}"] = value
    for name, watched in weights.watched.items():
        numbers |= {f"guard/{name}/{part}": float(getattr(watched, part)) for part in ("n", "low", "high")}
    return numbers


def _inputs(document: Rollout, state: State, evidence: Evidence, now: float) -> str:
    parts = [JUDGE, document.digest, state_to_json(state), evidence.digest, now]
    return sha256_bytes(canonical_json(parts))
