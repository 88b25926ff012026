"""What one episode says about a rollout: the outcome of a measured episode, and of a shadowed one.

Both are keyed by robot and attempt, so that the same attempt, however often and however late it
arrives, is one piece of evidence. Two records of one episode merge into one in any order of arrival.
"""

from dataclasses import dataclass
from typing import Self

from volano.errors import Code
from volano.rollout.assign import ARMS, BLOCK, Arm
from volano.rollout.record import Record
from volano.storage.content import canonical_json

MAX_COUNTER = 1_000_000


@dataclass(frozen=True, kw_only=True)
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

    @property
    def block(self) -> int:
        """Block within robot and task."""
        return self.counter // BLOCK

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-003)."""
        read = Record(data, set(cls.__dataclass_fields__), Code.ROLLOUT_EVIDENCE, "outcome")
        counter, duration_s = read.whole("counter"), read.number("duration_s")
        if counter >= MAX_COUNTER or duration_s < 0:
            raise read.refuse("the counter or the duration is not sensible")
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
        )


@dataclass(frozen=True, kw_only=True)
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

    def to_json(self) -> dict[str, object]:
        """Plain data; `from_json` is its inverse."""
        return dict(vars(self))

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
        )


def merge(known: Outcome, new: Outcome) -> Outcome:
    """One outcome from two records of the same episode, whichever came first.

    A labelled record replaces one without a label; of two different labels the one against the candidate stands.
    """
    return min(known, new, key=_precedence)


def merge_shadow(known: ShadowOutcome, new: ShadowOutcome) -> ShadowOutcome:
    """One shadow outcome from two records of the same episode: the worse one."""
    return max(known, new, key=lambda outcome: (outcome.invalid, outcome.late, canonical_json(outcome.to_json())))


def _precedence(outcome: Outcome) -> tuple[bool, int, bool, bytes]:
    against = outcome.success is (outcome.arm == "A")
    stops = -outcome.safety_stops
    return outcome.success is None, stops, not against, canonical_json(outcome.to_json())
