"""Who has to stand still by an operator's order, as plain data: pure, and the same on gateways and on robots.

A stop has an identifier, and a resume names the stops that it lifts. So orders may come in any order, any number of
times and to any number of places: wherever the same orders arrived the same robots stand still, and a resume that is
replayed lifts no later stop. It is a software policy stop, never a safety-rated emergency stop.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from volano.data.text import is_plain_text
from volano.errors import Code, HoldError

MOST_LIFTED = 100
_MAX_TEXT = 200
_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CONDITIONS = ("robot", "embodiment", "site")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A robot, as an order may mean it."""

    robot: str
    embodiment: str
    """Tag."""
    site: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Every robot that is meant stands still until this stop is lifted."""

    id: str
    """32 hexadecimal digits, drawn by chance."""
    at: float
    """Unix time in seconds by the operator's clock: for people, nothing is decided by it."""
    by: str
    reason: str
    scope: Mapping[str, str]
    """Conditions that all have to hold: `robot`, `embodiment`, `site`. None means every robot."""

    def means(self, subject: Subject) -> bool:
        """Whether a robot is meant."""
        return all(getattr(subject, name) == value for name, value in self.scope.items())

    @property
    def whom(self) -> str:
        """The scope in words."""
        return ", ".join(f"{name} {value}" for name, value in sorted(self.scope.items())) or "every robot"


@dataclass(frozen=True, kw_only=True)
class Resume:
    """The stops that it names hold nobody any more."""

    id: str
    at: float
    by: str
    reason: str
    lifts: tuple[str, ...]


Order = Stop | Resume


@dataclass(frozen=True, kw_only=True)
class Holds:
    """What every order that arrived comes to."""

    stops: Mapping[str, Stop] = field(default_factory=dict)
    resumes: Mapping[str, Resume] = field(default_factory=dict)

    def knows(self, order: str) -> bool:
        """Whether an order arrived before."""
        return order in self.stops or order in self.resumes

    def after(self, order: Order) -> Self:
        """With one more order; the same one again changes nothing."""
        if self.knows(order.id):
            return self
        if isinstance(order, Stop):
            return replace(self, stops={**self.stops, order.id: order})
        return replace(self, resumes={**self.resumes, order.id: order})

    @cached_property
    def in_force(self) -> tuple[Stop, ...]:
        """The stops that nobody lifted, in the order of their arrival."""
        lifted = {stop for resume in self.resumes.values() for stop in resume.lifts}
        return tuple(stop for stop in self.stops.values() if stop.id not in lifted)

    def reason(self, subject: Subject) -> str:
        """Why a robot has to stand still; empty when it may act."""
        for stop in self.in_force:
            if stop.means(subject):
                return f"stopped by {stop.by}: {stop.reason} ({stop.whom}, stop {stop.id[:12]})"
        return ""


def read_scope(text: str) -> dict[str, str]:
    """What a person wrote: `site=hall-2,embodiment=sawyer`. Raises HoldError(E-HOLD-003)."""
    parts = [part.partition("=") for part in text.split(",")]
    scope = {name.strip(): value.strip() for name, _, value in parts}
    if len(scope) != len(parts):
        raise _refused("a condition stands twice")
    _check_scope(scope)
    if not scope:
        raise _refused("it means nobody")
    return scope


def order_to_json(order: Order) -> dict[str, Any]:
    """Plain data; `order_from_json` is its inverse."""
    kind = "stop" if isinstance(order, Stop) else "resume"
    plain = asdict(order)
    return {"order": kind, **{name: list(one) if isinstance(one, tuple) else one for name, one in plain.items()}}


def order_from_json(data: object) -> Order:
    """Build from untrusted plain data; raises HoldError(E-HOLD-003)."""
    if not isinstance(data, dict) or data.get("order") not in ("stop", "resume"):
        raise _refused("it is neither a stop nor a resume")
    last = "scope" if data["order"] == "stop" else "lifts"
    if data.keys() != {"order", "id", "at", "by", "reason", last}:
        raise _refused("it has other fields")
    identifier, at = _id(data["id"]), _moment(data["at"])
    by, reason = _text(data["by"]), _text(data["reason"])
    if last == "scope":
        _check_scope(data[last])
        return Stop(id=identifier, at=at, by=by, reason=reason, scope=data[last])
    lifts = data[last]
    if not isinstance(lifts, list) or not 1 <= len(lifts) <= MOST_LIFTED:
        raise _refused(f"it lifts no stop, or more than {MOST_LIFTED}")
    return Resume(id=identifier, at=at, by=by, reason=reason, lifts=tuple(map(_id, lifts)))


def _check_scope(scope: object) -> None:
    if not isinstance(scope, dict) or scope.keys() - set(_CONDITIONS):
        raise _refused(f"its conditions are others than {', '.join(_CONDITIONS)}")
    if not all(isinstance(value, str) and _NAME.fullmatch(value) for value in scope.values()):
        raise _refused("a condition has no plain name")


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refused("an identifier is not 32 hexadecimal digits")
    return value


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise _refused("its time is none")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT or not is_plain_text(value):
        raise _refused(f"a text is empty, no plain text, or longer than {_MAX_TEXT} characters")
    return value


def _refused(cause: str) -> HoldError:
    return HoldError(
        Code.HOLD_ORDER, f"the order is refused: {cause}", "write it with `volano stop` or `volano resume`"
    )
