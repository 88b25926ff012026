"""Strict reading of plain data from outside: exactly the expected fields, exactly the expected types.

Used by the rollout's documents, states and outcomes. Guarantees that whatever comes out has the type it says,
and that whatever does not fit raises one RolloutError that names the field.
"""

import re
from typing import TypeVar

from volano.errors import Code, RolloutError

_MAX_TEXT = 1000
_MAX_NUMBER = 1e15
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_Value = TypeVar("_Value", bound=str)


def is_name(value: str) -> bool:
    """Whether a text is a plain name, as robots and rollouts have."""
    return _NAME.fullmatch(value) is not None


def is_digest(value: str) -> bool:
    """Whether a text is a hex SHA-256."""
    return _DIGEST.fullmatch(value) is not None


class Record:
    """A map with a known set of fields; each method returns one field as one type, or raises."""

    def __init__(self, data: object, names: set[str], code: Code, what: str) -> None:
        self._code, self._what = code, what
        if not isinstance(data, dict):
            raise self.refuse(f"it is a {type(data).__name__}, not a map")
        if set(data) != names:
            unknown, absent = sorted(map(str, set(data) - names)), sorted(names - set(data))
            raise self.refuse(f"unknown fields {unknown}, absent fields {absent}")
        self._data: dict[str, object] = data

    def refuse(self, why: str) -> RolloutError:
        """The error for data that does not fit."""
        return RolloutError(
            self._code, f"not a valid {self._what}: {why}", "write it as Volano does: volano rollout new"
        )

    def value(self, name: str) -> object:
        """The field as it came."""
        return self._data[name]

    def text(self, name: str) -> str:
        """A text of at most 1000 characters."""
        value = self._data[name]
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise self.refuse(f"{name} is not a short text")
        return value

    def one_of(self, name: str, allowed: tuple[_Value, ...]) -> _Value:
        """One of a few texts."""
        for candidate in allowed:
            if self._data[name] == candidate:
                return candidate
        raise self.refuse(f"{name} is not one of {list(allowed)}")

    def whole(self, name: str) -> int:
        """An integer that is not negative."""
        value = self._data[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_NUMBER:
            raise self.refuse(f"{name} is not a count")
        return value

    def number(self, name: str) -> float:
        """A finite number, as a float."""
        value = self._data[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_NUMBER:
            raise self.refuse(f"{name} is not a finite number")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._data[name]
        if not isinstance(value, bool):
            raise self.refuse(f"{name} is not true or false")
        return value

    def items(self, name: str) -> list[object]:
        """A list."""
        value = self._data[name]
        if not isinstance(value, list):
            raise self.refuse(f"{name} is not a list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(name)
        found = tuple(value for value in values if isinstance(value, str) and len(value) <= _MAX_TEXT)
        if len(found) != len(values):
            raise self.refuse(f"{name} holds something that is not a short text")
        return found
