"""Which parts of a version's dataset its child keeps, and which it writes: pure, from what the child is to hold.

Parts are kept from the first on, up to one that holds what the child does not: rows are numbered through, so that
what follows is written again, in parts of the same episodes, whose videos come out the same. What is new becomes one
part. Small parts before it are joined with it once there are enough of their size, as a counter carries: a thousand
appends leave a few dozen parts, and write each episode a few times and not a thousand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FULL_BYTES = 128 << 20
"""A part of this size is joined with no other."""
_CARRY = 7
"""So many parts, none of a larger size class, are joined with the one behind them."""
_CLASS_BITS = 3
"""A size class is eight times the one before."""


Part = Sequence[str]
"""Contents of episodes that share files with no others."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a dataset becomes its child's."""

    kept: int
    """So many parts stay as they are."""
    written: tuple[tuple[str, ...], ...]
    """Contents of each part behind them, in order."""


def grow(parts: Sequence[Part], wanted: Mapping[str, int]) -> Growth:
    """From the parts there are to those of a dataset of all that is wanted: content to bytes of its bundle."""
    untouched = next((n for n, part in enumerate(parts) if not wanted.keys() >= {*part}), len(parts))
    after = [[content for content in part if content in wanted] for part in parts[untouched:]]
    before = [*parts[:untouched], *(part for part in after if part)]
    fresh: Part = sorted(wanted.keys() - {content for part in before for content in part})
    sizes = [sum(wanted[content] for content in part) for part in before]
    while joined := _small(sizes, sum(wanted[content] for content in fresh)):
        fresh = [content for part in (*before[-joined:], fresh) for content in part]
        del before[-joined:], sizes[-joined:]
    kept = min(untouched, len(before))
    written = [*before[kept:], *([fresh] if fresh else [])]
    return Growth(kept=kept, written=tuple(tuple(sorted(part)) for part in written))


def _small(sizes: Sequence[int], fresh: int) -> int:
    """How many parts at the end are joined with a fresh one of this size; parts with such sizes stand before it."""
    count = 0
    while count < len(sizes) and _class(sizes[-count - 1]) <= _class(fresh) and sizes[-count - 1] < FULL_BYTES:
        count += 1
    return count if count >= _CARRY and fresh else 0


def _class(size: int) -> int:
    return size.bit_length() // _CLASS_BITS
