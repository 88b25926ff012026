"""The evaluation gate: what an evaluation must show before a policy may meet robots. Pure, so it can be replayed.

Robots without a policy in place are won by beating both baselines. Where there is one, each family is judged by pairs
of episodes on the same seeds: shown to be worse is refused; shown to be not worse passes; neither is inconclusive, and
such a candidate passes to the shadow step only. A candidate that succeeds more often never fares worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from volano.evaluate.report import BASELINES, Actor, Evaluation, pairs
from volano.evaluate.statistics import compare_paired, paired_interval
from volano.flywheel.summary import Criterion

Verdict = Literal["pass", "shadow_only", "refuse"]


@dataclass(frozen=True, kw_only=True)
class GateRules:
    """What counts as shown; chosen before anybody looks."""

    alpha: float = 0.05
    """Chance to let a policy pass that is not better than a baseline, and to refuse one that is equal to the current
    one; the latter is shared among the families."""
    margin: float = 0.1
    """Loss of success rate that still counts as not worse."""
    min_pairs: int = 20
    """Episodes per family that both sides of a comparison must have."""


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """What the gate says about one candidate, with everything it looked at."""

    candidate: str
    """Digest of the policy."""
    current: str
    """Digest of the policy in place; empty for none."""
    evaluations: tuple[str, ...]
    """Digests of the evaluations compared: the candidate's, then the current one's."""
    verdict: Verdict
    reason: str
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released, if only to be shadowed."""
        return self.verdict != "refuse"


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """One family's part of the decision."""

    verdict: Verdict
    criterion: Criterion


def decide(candidate: Evaluation, current: Evaluation | None, rules: GateRules | None = None) -> GateDecision:
    """Whether the candidate passes, given the evaluation of the policy in place, if there is one."""
    rules = rules or GateRules()
    findings = _comparable(candidate, current)
    for family, tags in candidate.families.items():
        known = [tag for tag in tags if current is not None and tag in current.robots]
        new = [tag for tag in tags if tag not in known]
        if current is not None and known:
            findings.append(_against_current(family, known, candidate, current, rules))
        if new:
            findings += [_against_baseline(family, new, candidate, baseline, rules) for baseline in BASELINES]
    verdict = _worst([finding.verdict for finding in findings])
    return GateDecision(
        candidate=candidate.policy,
        current=current.policy if current else "",
        evaluations=(candidate.digest, *([current.digest] if current else [])),
        verdict=verdict,
        reason=_reason(verdict, findings, first=current is None),
        criteria=tuple(finding.criterion for finding in findings),
    )


def _comparable(candidate: Evaluation, current: Evaluation | None) -> list[_Finding]:
    """What keeps two evaluations from being compared at all."""
    if not candidate.results.get("policy"):
        return [_refusal("episodes", "the policy has none", "some")]
    if current is None:
        return []
    found = []
    if candidate.pool != current.pool:
        found.append(_refusal("pool of seeds", candidate.pool, current.pool))
    for tag, robot in sorted(current.robots.items()):
        if tag not in candidate.robots:
            found.append(_refusal(f"{tag}", "not evaluated", "every robot of the current policy"))
        elif candidate.robots[tag] != robot:
            found.append(_refusal(f"{tag}", "another contract", "the contract of the current policy"))
    return found


def _against_baseline(
    family: str, tags: Sequence[str], candidate: Evaluation, baseline: Actor, rules: GateRules
) -> _Finding:
    before, after = pairs(candidate.of(baseline, tags), candidate.of("policy", tags))
    test = compare_paired(before, after, "greater")
    met = len(before) >= rules.min_pairs and test.p_value <= rules.alpha
    name = "better than holding still" if baseline == "hold" else "better than random chunks"
    return _Finding(
        verdict="pass" if met else "refuse",
        criterion=Criterion(
            name=f"{family}: {name}",
            found=f"{_counts(before, after)}, p = {test.p_value:.2g}",
            needed=f"p <= {rules.alpha:g} (one-sided, paired) in at least {rules.min_pairs} pairs",
            met=met,
        ),
    )


def _against_current(
    family: str, tags: Sequence[str], candidate: Evaluation, current: Evaluation, rules: GateRules
) -> _Finding:
    before, after = pairs(current.of("policy", tags), candidate.of("policy", tags))
    worse = compare_paired(before, after, "less").p_value
    low, _ = paired_interval(before, after)
    level = rules.alpha / len(candidate.families)
    if len(before) < rules.min_pairs or worse <= level:
        verdict: Verdict = "refuse"
    else:
        verdict = "pass" if low > -rules.margin else "shadow_only"
    return _Finding(
        verdict=verdict,
        criterion=Criterion(
            name=f"{family}: not worse than the current policy",
            found=f"{_counts(before, after)}, p(worse) = {worse:.2g}, difference at least {100 * low:+.0f} points",
            needed=f"p(worse) > {level:.2g} in at least {rules.min_pairs} pairs; "
            f"above {-100 * rules.margin:+.0f} points to be conclusive",
            met=verdict != "refuse",
        ),
    )


def _counts(before: Sequence[bool], after: Sequence[bool]) -> str:
    return f"{sum(after)} against {sum(before)} of {len(before)}"


def _refusal(name: str, found: str, needed: str) -> _Finding:
    return _Finding(verdict="refuse", criterion=Criterion(name=name, found=found, needed=needed, met=False))


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("refuse", "shadow_only", "pass")
    return next(verdict for verdict in order if verdict in (*verdicts, "pass"))


def _reason(verdict: Verdict, findings: Sequence[_Finding], *, first: bool) -> str:
    told = "; ".join(f"{one.criterion.name} ({one.criterion.found})" for one in findings if one.verdict == verdict)
    if verdict == "refuse":
        return f"not met: {told}"
    if verdict == "shadow_only":
        return (
            f"inconclusive, a pass to the shadow step only: so few episodes neither show nor refute {told}. "
            "Whether the candidate may act is for the evidence from robots to say"
        )
    return "better than both baselines in every family" if first else "no family is worse than the current policy"
