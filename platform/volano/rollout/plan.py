"""The rollout document: what is compared with what, by which steps, and what counts as enough evidence.

Plain data, written once when a rollout starts and never changed: `assign`, `evidence` and `machine` are functions
of it. A document that exists is valid; a wrong one raises RolloutError(E-ROLLOUT-001).
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, Self, get_args

from volano.errors import Code, RolloutError
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.record import Record, is_digest, is_name
from volano.storage.content import canonical_json, sha256_bytes

Promotion = Literal["evidence", "person"]
SCHEMA = "volano.rollout.3"


@dataclass(frozen=True, kw_only=True)
class ShadowStep:
    """The candidate sees what the current policy sees; its actions are never sent. It may veto, never promote."""

    min_episodes: int
    """Shadowed episodes before the next step."""
    kind: Literal["shadow"] = "shadow"


@dataclass(frozen=True, kw_only=True)
class CanaryStep:
    """A share of the robots takes part in the measurement: each of them runs both arms in randomised blocks."""

    percent: float
    """Share of the robots exposed, within (0, 100]."""
    min_episodes: int
    """Labelled candidate episodes, counted from the rollout's start, before the next step."""
    kind: Literal["canary"] = "canary"


@dataclass(frozen=True, kw_only=True)
class HoldStep:
    """A pause: exposure stays as the step before left it, harm is still looked for."""

    seconds: float
    """How long; 0 until a person resumes."""
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, kw_only=True)
class ABTestStep:
    """Every eligible robot takes part; the only step that can end in a promotion."""

    min_blocks: int
    """Complete blocks (pairs of episodes), counted from the rollout's start, before a promotion."""
    max_blocks: int
    """Blocks after which the test ends: non-inferior, or a human decides."""
    kind: Literal["ab_test"] = "ab_test"


Step = ShadowStep | CanaryStep | HoldStep | ABTestStep


@dataclass(frozen=True, kw_only=True)
class MinimumEvidence:
    """What the candidate must have done before a verdict. A rollback needs the episodes, a promotion all five;
    a safety stop or an invalid shadow answer needs nothing."""

    episodes: int = 6
    """Labelled candidate episodes."""
    task_pairs: int = 4
    """Pairs with both labels in each task that was begun under the rollout."""
    robots: int = 2
    """Robots with at least one labelled candidate episode."""
    sites: int = 1
    """Sites with at least one labelled candidate episode."""
    hours: float = 0.0
    """Robot-hours under the candidate."""


DEFAULT_STEPS: tuple[Step, ...] = (
    ShadowStep(min_episodes=4),
    CanaryStep(percent=50.0, min_episodes=6),
    ABTestStep(min_blocks=10, max_blocks=300),
)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a candidate policy replaces the current one on the robots of some embodiments."""

    id: str
    embodiments: tuple[str, ...]
    """Fingerprints of the embodiments concerned."""
    current: str
    """Digest of the policy in place: arm A."""
    candidate: str
    """Digest of the policy proposed: arm B."""
    salt: str
    """Seed of every assignment; a new rollout needs a new one."""
    steps: tuple[Step, ...] = DEFAULT_STEPS
    """Any shadow steps, then canary steps with rising percents, then exactly one A/B test; holds anywhere before it."""
    guardrails: Guardrails = field(default_factory=Guardrails)
    watch: tuple[Guardrail, ...] = ()
    """Guardrails of the team's own; one whose measure no episode brings holds the promotion back."""
    promotion: Promotion = "evidence"
    """Who promotes: the evidence, or a person to whom it is shown."""
    minimum: MinimumEvidence = field(default_factory=MinimumEvidence)
    alpha: float = 0.05
    """Chance, over the whole rollout, to promote a candidate that is not better (or, at the test's end, that is
    worse by the margin)."""
    margin: float = 0.1
    """Loss of success rate that still counts as non-inferior; 0 promotes superior candidates only."""
    fleet: str = "fleet"
    """Name of the fleet: the holdout's seed, so that the same robots are held out of every rollout."""
    holdout: float = 0.0
    """Share of robots that no rollout exposes, within [0, 1)."""
    sites: tuple[str, ...] = ()
    """Sites that may be exposed; all if none."""
    tasks: tuple[str, ...] = ()
    """Tasks that may be exposed; all if none."""
    robots: tuple[str, ...] = ()
    """Robots that may be exposed; all if none."""
    max_per_cell: int = 0
    """Robots of one site and embodiment that may be exposed at once during canaries; 0 is no limit."""
    allow: tuple[str, ...] = ()
    """Robots exposed from the first canary on, past holdout, percent and cell."""
    deny: tuple[str, ...] = ()
    """Robots never exposed."""
    pins: dict[str, str] = field(default_factory=dict)
    """Robot to policy digest: a pin always wins, and its episodes are no evidence."""
    patience_s: float = 7 * 86400.0
    """Seconds that one step may last before a human is asked."""

    def __post_init__(self) -> None:
        problems = [*_identity_problems(self), *_number_problems(self), *_step_problems(self.steps)]
        for wrong, what in [*problems, *_watch_problems(self.watch)]:
            if wrong:
                raise RolloutError(Code.ROLLOUT_PLAN, f"rollout {self.id!r}: {what}", "correct the rollout's plan")

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON: the document's identity in every verdict."""
        return sha256_bytes(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"schema": SCHEMA, **plain}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-001)."""
        read = Record(data, {"schema", *cls.__dataclass_fields__}, Code.ROLLOUT_PLAN, "rollout")
        promotions: tuple[Promotion, ...] = get_args(Promotion)
        read.one_of("schema", (SCHEMA,))
        pins = read.value("pins")
        if not isinstance(pins, dict) or not all(isinstance(text, str) for text in (*pins, *pins.values())):
            raise read.refuse("pins is not a map of texts")
        return cls(
            id=read.text("id"),
            embodiments=read.texts("embodiments"),
            current=read.text("current"),
            candidate=read.text("candidate"),
            salt=read.text("salt"),
            alpha=read.number("alpha"),
            margin=read.number("margin"),
            fleet=read.text("fleet"),
            holdout=read.number("holdout"),
            sites=read.texts("sites"),
            tasks=read.texts("tasks"),
            robots=read.texts("robots"),
            max_per_cell=read.whole("max_per_cell"),
            allow=read.texts("allow"),
            deny=read.texts("deny"),
            patience_s=read.number("patience_s"),
            steps=tuple(step_from_json(step) for step in read.items("steps")),
            guardrails=Guardrails.from_json(read.value("guardrails")),
            watch=tuple(Guardrail.from_json(one) for one in read.items("watch")),
            promotion=read.one_of("promotion", promotions),
            minimum=_minimum_from_json(read.value("minimum")),
            pins=dict(pins),
        )


def readable(text: str) -> Rollout | None:
    """The document that a ledger keeps; None when it is of other rules than these and cannot be followed."""
    try:
        return Rollout.from_json(json.loads(text))
    except (RolloutError, ValueError):
        return None


def step_from_json(data: object) -> Step:
    """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-001)."""
    kind = data.get("kind") if isinstance(data, dict) else None
    match kind:
        case "shadow":
            read = Record(data, {"kind", "min_episodes"}, Code.ROLLOUT_PLAN, "shadow step")
            return ShadowStep(min_episodes=read.whole("min_episodes"))
        case "canary":
            read = Record(data, {"kind", "percent", "min_episodes"}, Code.ROLLOUT_PLAN, "canary step")
            return CanaryStep(percent=read.number("percent"), min_episodes=read.whole("min_episodes"))
        case "hold":
            return HoldStep(seconds=Record(data, {"kind", "seconds"}, Code.ROLLOUT_PLAN, "hold step").number("seconds"))
        case "ab_test":
            read = Record(data, {"kind", "min_blocks", "max_blocks"}, Code.ROLLOUT_PLAN, "A/B test step")
            return ABTestStep(min_blocks=read.whole("min_blocks"), max_blocks=read.whole("max_blocks"))
    raise RolloutError(Code.ROLLOUT_PLAN, f"step kind {kind!r} is unknown", "use shadow, canary, hold or ab_test")


def _minimum_from_json(data: object) -> MinimumEvidence:
    read = Record(data, set(MinimumEvidence.__dataclass_fields__), Code.ROLLOUT_PLAN, "minimum of evidence")
    return MinimumEvidence(
        episodes=read.whole("episodes"),
        task_pairs=read.whole("task_pairs"),
        robots=read.whole("robots"),
        sites=read.whole("sites"),
        hours=read.number("hours"),
    )


def _identity_problems(plan: Rollout) -> list[tuple[bool, str]]:
    robots = (*plan.allow, *plan.deny, *plan.robots, *plan.pins)
    return [
        (not is_name(plan.id), "the id is not a plain name"),
        (not is_name(plan.salt), "the salt is not a plain name"),
        (not is_name(plan.fleet), "the fleet is not a plain name"),
        (not plan.embodiments, "no embodiment"),
        (not all(map(is_digest, (plan.current, plan.candidate))), "a policy is not a SHA-256 digest"),
        (plan.current == plan.candidate, "current and candidate are the same policy"),
        (not all(map(is_digest, plan.pins.values())), "a pin is not a SHA-256 digest"),
        (not all(map(is_name, robots)), "a robot in allow, deny, robots or pins is not a plain name"),
        (bool(set(plan.allow) & set(plan.deny)), "a robot is both allowed and denied"),
    ]


def _number_problems(plan: Rollout) -> list[tuple[bool, str]]:
    guard, minimum = plan.guardrails, plan.minimum
    alphas = (plan.alpha, guard.harm_alpha, guard.floor_alpha, guard.sample_ratio_alpha)
    return [
        (not all(0 < alpha <= 0.5 for alpha in alphas), "an alpha is not within (0, 0.5]"),
        (not 0 <= plan.margin <= 0.5, "the margin is not within [0, 0.5]"),
        (not 0 <= plan.holdout < 1, "the holdout is not within [0, 1)"),
        (not 0 <= guard.floor < 1, "the floor is not within [0, 1)"),
        (guard.max_safety_stops < 0, "the number of tolerated safety stops is negative"),
        (not 0 <= guard.max_late_share <= 1, "the share of late answers is not within [0, 1]"),
        (not 0 <= guard.max_shadow_distance <= 1, "the shadow's distance is not within [0, 1]"),
        (not 0 <= guard.max_shadow_clamped <= 1, "the shadow's share of clamped values is not within [0, 1]"),
        (min(minimum.episodes, minimum.robots, minimum.sites) < 1, "the minimum of evidence is nothing"),
        (not 0 <= minimum.hours < 1e6, "the minimum of hours is not within [0, 1e6)"),
        (not 0 < plan.patience_s < 1e12, "the patience is not within (0, 1e12) seconds"),
    ]


def _step_problems(steps: tuple[Step, ...]) -> list[tuple[bool, str]]:
    order = {"shadow": 0, "canary": 1, "ab_test": 2}
    ranks = [order[step.kind] for step in steps if step.kind != "hold"]
    holds = [step.seconds for step in steps if isinstance(step, HoldStep)]
    tests = [step for step in steps if isinstance(step, ABTestStep)]
    percents = [step.percent for step in steps if isinstance(step, CanaryStep)]
    counts = [step.min_episodes for step in steps if isinstance(step, ShadowStep | CanaryStep)]
    return [
        (ranks != sorted(ranks), "the steps are not shadow, canary, A/B test in this order"),
        (len(tests) != 1, "there is not exactly one A/B test, without which nothing may be promoted"),
        (bool(steps) and steps[-1].kind != "ab_test", "the A/B test is not the last step"),
        (not all(0 <= seconds < 1e9 for seconds in holds), "a hold is not within [0, 1e9) seconds"),
        (not all(0 < percent <= 100 for percent in percents), "a canary's percent is not within (0, 100]"),
        (percents != sorted(percents), "the canaries' percents do not rise"),
        (any(count < 1 for count in counts), "a step with no minimum of episodes would pass without data"),
        (any(not 1 <= test.min_blocks <= test.max_blocks for test in tests), "the A/B test needs 1 <= min <= max"),
    ]


def _watch_problems(watch: tuple[Guardrail, ...]) -> list[tuple[bool, str]]:
    names = [one.name for one in watch]
    return [
        (len(set(names)) < len(names), "two guardrails have one name"),
        *((bool(one.problem), f"guardrail {one.name!r}: {one.problem}") for one in watch),
    ]
