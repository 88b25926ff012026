"""What stops a rollout: the tests that are always on, and guardrails that a team names for its own measures.

The alpha of a test that is always on bounds the chance of its false alarm, ever, however often one looks. So does that
of a guardrail alone; several are believed together (e-BH), where company lowers the bar of each, and what is bounded is
the expected share of false alarms among those raised: at most the sum of the alphas.
"""

from dataclasses import dataclass
from typing import Literal, Self, get_args

from volano.errors import Code
from volano.rollout.record import Record, is_name

Action = Literal["rollback", "pause"]
Direction = Literal["above", "below"]
RATES = ("interventions", "safety_stops")
"""Metrics that are events per hour of robot time, held against the current policy's rate. All others are means of a
measure of the candidate's episodes, held against the limit itself."""


@dataclass(frozen=True, kw_only=True)
class Guardrails:
    """What is always watched, in any step and at any time."""

    harm_alpha: float = 0.005
    """Candidate worse than current in success, in success averaged over tasks, or in interventions per hour: for each
    of the three. Measured, equal policies stop about one rollout in a hundred."""
    floor: float = 0.0
    """Success rate that a candidate may never fall below, whatever the current policy does; 0 declares none."""
    floor_alpha: float = 0.05
    sample_ratio_alpha: float = 0.001
    """Episodes of one arm go missing more often than those of the other: a human decides."""
    max_safety_stops: int = 0
    """Safety stops under the candidate that are still tolerated; one more rolls back at once."""
    max_late_share: float = 0.2
    """Share of shadow answers that may miss their deadline."""
    max_shadow_distance: float = 0.0
    """Mean distance of the shadow's actions from the executed ones, in shares of the channels' ranges, that is still
    tolerated; 0 tolerates any."""
    max_shadow_clamped: float = 0.0
    """Mean share of the shadow's values that stand at a limit of the contract that is still tolerated; 0 tolerates any.
    A gripper that opens or shuts stands there always."""

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-001)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_PLAN, "set of guardrails")
        return cls(
            harm_alpha=read.number("harm_alpha"),
            floor=read.number("floor"),
            floor_alpha=read.number("floor_alpha"),
            sample_ratio_alpha=read.number("sample_ratio_alpha"),
            max_safety_stops=read.whole("max_safety_stops"),
            max_late_share=read.number("max_late_share"),
            max_shadow_distance=read.number("max_shadow_distance"),
            max_shadow_clamped=read.number("max_shadow_clamped"),
        )


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """One measure and what it may be."""

    name: str
    metric: str
    """`interventions`, `safety_stops`, or the name of a measure that episodes bring (`Outcome.measures`)."""
    limit: float
    """Of a rate: the tolerated multiple of the current policy's rate, at least 1. Of a mean: the tolerated mean."""
    direction: Direction = "above"
    """Which side of the limit is bad."""
    most: float = 1.0
    """Of a mean: the largest value that counts, what is above counts as this; values are not negative."""
    alpha: float = 0.01
    """Measured, a doubling from one event in each episode is seen after 25 episodes of the candidate, and equal rates
    break a guardrail in 0.7 % of rollouts of 300 pairs."""
    action: Action = "rollback"
    """`pause` asks a human instead."""

    @property
    def is_rate(self) -> bool:
        """Whether it counts events per hour."""
        return self.metric in RATES

    @property
    def problem(self) -> str:
        """What is wrong with it; empty when nothing is."""
        if not is_name(self.name) or not is_name(self.metric):
            return "the name or the metric is not a plain name"
        if not 0 < self.alpha <= 0.5:
            return "the alpha is not within (0, 0.5]"
        if self.is_rate:
            fits = self.direction == "above" and 1 <= self.limit <= 1000
            return "" if fits else "a rate's limit is a multiple within [1, 1000], and above is bad"
        return "" if 0 < self.limit < self.most < 1e12 else "the limit is not within (0, most)"

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-001)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_PLAN, "guardrail")
        actions: tuple[Action, ...] = get_args(Action)
        directions: tuple[Direction, ...] = get_args(Direction)
        return cls(
            name=read.text("name"),
            metric=read.text("metric"),
            limit=read.number("limit"),
            direction=read.one_of("direction", directions),
            most=read.number("most"),
            alpha=read.number("alpha"),
            action=read.one_of("action", actions),
        )
