"""What one episode says about a rollout: the outcome of a measured episode, of a shadowed one, and the safety stops of
any other that ran the candidate.

All are keyed by robot and attempt, so that the same attempt, however often and however late it
arrives, is one piece of evidence. Two records of one episode merge into one in any order of arrival.
"""

from dataclasses import dataclass, field
from typing import Self

from volano.errors import Code
from volano.rollout.assign import ARMS, BLOCK, Arm
from volano.rollout.record import Record
from volano.storage.content import canonical_json

MAX_COUNTER = 1_000_000
MAX_DURATION_S = 1e7


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a measured episode ended."""

    episode: str
    """Robot and attempt, as the ledger assigned them."""
    robot: str
    task: str
    arm: Arm
    """Arm that was assigned."""
    policy: str
    """Digest of what the robot really ran; when it is not the arm's policy, the label counts as missing."""
    counter: int
    """The number given to `assign` for this episode."""
    success: bool | None
    """None when nobody labelled it; that counts against the candidate."""
    autonomous: bool
    """True when no intervention was needed."""
    interventions: int
    safety_stops: int = 0
    duration_s: float
    site: str = ""
    """Where the robot stood."""
    measures: dict[str, float] = field(default_factory=dict)
    """Means over the episode that guardrails watch, by name; none of them negative."""

    @property
    def block(self) -> int:
        """Block within robot and task."""
        return self.counter // BLOCK

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-003)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_EVIDENCE, "outcome")
        counter, duration_s = read.whole("counter"), read.number("duration_s")
        plain = read.value("measures")
        if counter >= MAX_COUNTER or not 0 <= duration_s < MAX_DURATION_S or not isinstance(plain, dict):
            raise read.refuse("the counter, the duration or the measures are not sensible")
        measures = Record(plain, set(plain), Code.ROLLOUT_EVIDENCE, "map of measures")
        return cls(
            episode=read.text("episode"),
            robot=read.text("robot"),
            task=read.text("task"),
            policy=read.text("policy"),
            arm=read.one_of("arm", ARMS),
            counter=counter,
            success=None if read.value("success") is None else read.flag("success"),
            autonomous=read.flag("autonomous"),
            interventions=read.whole("interventions"),
            safety_stops=read.whole("safety_stops"),
            duration_s=duration_s,
            site=read.text("site"),
            measures={str(name): measures.number(name) for name in plain},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowOutcome:
    """How the candidate answered beside one episode of the current policy."""

    episode: str
    """Robot and attempt, as the ledger assigned them."""
    robot: str
    answers: int
    """Chunks that the candidate was asked for."""
    invalid: int
    """Answers that were not finite, of a wrong shape, or outside the limits that the guard clamps to."""
    late: int
    """Answers after their deadline."""
    distance: float = 0.0
    """Sum over the answers of their distance from the executed actions, in shares of the channels' ranges."""
    clamped: float = 0.0
    """Sum over the answers of the shares of their values that stand at a limit of the contract."""
    latency_s: float = 0.0
    """Sum over the answers of what they took, in seconds."""

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-003)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_EVIDENCE, "shadow outcome")
        return cls(
            episode=read.text("episode"),
            robot=read.text("robot"),
            answers=read.whole("answers"),
            invalid=read.whole("invalid"),
            late=read.whole("late"),
            distance=read.number("distance"),
            clamped=read.number("clamped"),
            latency_s=read.number("latency_s"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Safety stops of an episode that ran the candidate and is no evidence otherwise: its robot was pinned, or it ran
    other policies besides."""

    episode: str
    """Robot and attempt, as the ledger assigned them."""
    safety_stops: int

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-003)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_EVIDENCE, "stopped episode")
        return cls(episode=read.text("episode"), safety_stops=read.whole("safety_stops"))


def merge(known: Outcome, new: Outcome) -> Outcome:
    """One outcome from two records of the same episode, whichever came first.

    A labelled record replaces one without a label; of two different labels the one against the candidate stands.
    """
    return min(known, new, key=_precedence)


def merge_shadow(known: ShadowOutcome, new: ShadowOutcome) -> ShadowOutcome:
    """One shadow outcome from two records of the same episode: the worse one, of equals the longer, since counts only
    grow."""
    return max(known, new, key=_worse)


def merge_stopped(known: Stopped, new: Stopped) -> Stopped:
    """One record from two of the same episode: the one with more stops."""
    return max(known, new, key=lambda one: one.safety_stops)


def _worse(shadow: ShadowOutcome) -> tuple[int, int, int, float, bytes]:
    return shadow.invalid, shadow.late, shadow.answers, shadow.distance, canonical_json(shadow.to_json())


def _precedence(outcome: Outcome) -> tuple[bool, int, bool, bytes]:
    against = outcome.success is (outcome.arm == "A")
    stops = -outcome.safety_stops
    return outcome.success is None, stops, not against, canonical_json(outcome.to_json())
