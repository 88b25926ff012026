"""Where a rollout stands: one small class per state, and their plain-data form.

A state is all that assignment and judgement remember besides the document and the evidence; it is stored in the
ledger after every transition.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from volano.errors import Code, RolloutError
from volano.rollout.record import Record


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """The candidate answers beside the current policy, unheard."""

    step: int
    """Position of the step in the document."""
    since: float
    """Unix time in seconds at which the step began."""
    kind: Literal["shadow"] = "shadow"


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A share of the robots runs both arms."""

    step: int
    since: float
    kind: Literal["canary"] = "canary"


@dataclass(frozen=True, kw_only=True)
class ABTest:
    """Every eligible robot runs both arms."""

    step: int
    since: float
    kind: Literal["ab_test"] = "ab_test"


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A pause of the plan: whoever ran both arms before it goes on."""

    step: int
    since: float
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """The candidate is the policy of every eligible robot; only harm or a human leads out."""

    since: float
    reason: str
    kind: Literal["promoted"] = "promoted"


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """Every robot is back on the current policy, for good."""

    since: float
    reason: str
    kind: Literal["rolled_back"] = "rolled_back"


@dataclass(frozen=True, kw_only=True)
class NeedsHuman:
    """Every robot is back on the current policy until someone decides."""

    since: float
    reason: str
    kind: Literal["needs_human"] = "needs_human"


Running = Shadow | Canary | Hold | ABTest
State = Running | Promoted | RolledBack | NeedsHuman
_RUNNING: dict[str, type[Running]] = {"shadow": Shadow, "canary": Canary, "hold": Hold, "ab_test": ABTest}
_ENDED: dict[str, type[Promoted | RolledBack | NeedsHuman]] = {
    "promoted": Promoted,
    "rolled_back": RolledBack,
    "needs_human": NeedsHuman,
}


def state_to_json(state: State) -> dict[str, object]:
    """Plain data; `state_from_json` is its inverse."""
    return asdict(state)


def state_from_json(data: object) -> State:
    """Build from untrusted plain data; raises RolloutError(E-ROLLOUT-002)."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind in _RUNNING:
        read = Record(data, {"kind", "step", "since"}, Code.ROLLOUT_STATE, "rollout state")
        return _RUNNING[kind](step=read.whole("step"), since=read.number("since"))
    if isinstance(kind, str) and kind in _ENDED:
        read = Record(data, {"kind", "since", "reason"}, Code.ROLLOUT_STATE, "rollout state")
        return _ENDED[kind](since=read.number("since"), reason=read.text("reason"))
    raise RolloutError(Code.ROLLOUT_STATE, f"state {kind!r} is unknown", "use the JSON that Volano wrote")
