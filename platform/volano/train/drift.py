"""What differs between the configuration that a run was started with and the one it is to go on with, key by key."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

CHANGES = "changes.json"
"""In a run folder: a list of what was changed, and when, while the run was under way."""


class Absent(Enum):
    """The value of a key that is not there."""

    VALUE = "nothing"


ABSENT = Absent.VALUE


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key whose value differs."""

    key: str
    """Path from the top, parts joined by dots; items of a list by number."""
    old: object
    new: object

    def __str__(self) -> str:
        old, new = (side.value if isinstance(side, Absent) else repr(side) for side in (self.old, self.new))
        return f"{self.key}: {old} -> {new}"

    def to_json(self) -> dict[str, object]:
        """Plain data; a side that is absent has no entry."""
        sides = {"old": self.old, "new": self.new}
        return {"key": self.key, **{name: side for name, side in sides.items() if side is not ABSENT}}


def changes(old: object, new: object, key: str = "") -> Iterator[Change]:
    """Every leaf that differs between two trees of plain data (maps with text keys, lists, leaves), by key.

    Values of different types differ, also 1 and 1.0, and true and 1. A subtree that only one side has, or that is a map
    on one side and a list on the other, is one change.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from changes(old.get(name, ABSENT), new.get(name, ABSENT), f"{key}.{name}" if key else name)
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            before, after = (side[number] if number < len(side) else ABSENT for side in (old, new))
            yield from changes(before, after, f"{key}.{number}" if key else str(number))
    elif type(old) is not type(new) or old != new:
        yield Change(key=key, old=old, new=new)
