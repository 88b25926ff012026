"""How many inputs of each kind a run mutates, and what every one of them has to end in."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from tests.sweeps.crashes import in_child
from volano.data.finding import Finding
from volano.data.sandbox import Limits
from volano.errors import Code

INPUTS = {
    "MP4": 6000,
    "Parquet": 5000,
    "MCAP": 3200,
    "foreign Parquet": 1600,
    "JSON manifest": 4000,
    "foreign JSON": 1200,
    "JSON record": 1600,
    "journal": 1200,
    "page": 800,
}
PARTS = 2
"""Tests into which one kind is cut, for several processes."""
BATCH = 200
LIMITS = Limits(cpu_s=10, wall_s=120)
"""Of a child, for each input: whoever needs more hangs."""
Item = TypeVar("Item")


def chance_of(kind: str, number: int) -> random.Random:
    """The chance of one input: each can be made again alone."""
    return random.Random(f"{kind} {number}")


def batches(kind: str, part: int) -> Iterator[range]:
    """The numbers of a part's inputs."""
    share = INPUTS[kind] // PARTS
    for first in range(part * share, (part + 1) * share, BATCH):
        yield range(first, min(first + BATCH, (part + 1) * share))


def require_coded(found: Sequence[Finding | None], names: Sequence[str]) -> Counter[str]:
    """How often each code, `accepted` and `died`. A child that died of its input has said so by a code; an exception
    that nobody foresaw has none, and is a defect of the check."""
    seen: Counter[str] = Counter()
    for finding, name in zip(found, names, strict=True):
        if finding is None:
            seen["accepted"] += 1
            continue
        assert finding.code is not Code.SYSTEM_SANDBOX, f"{name}: {finding.evidence}"
        assert not finding.evidence.startswith("the check failed"), f"{name}: {finding.evidence}"
        seen["died" if finding.code is Code.DATA_DECODER else str(finding.code)] += 1
    return seen


def require_each(items: Sequence[Item], names: Sequence[str], look: Callable[[Sequence[Item]], None]) -> None:
    """Look at all of them in one child; when that fails, at each alone, to name those that are to blame."""
    if in_child(partial(look, items)) == 0:
        return
    blamed = [name for item, name in zip(items, names, strict=True) if in_child(partial(look, [item]))]
    raise AssertionError(f"see the traceback above; to blame are {blamed or 'all of them together'}")


def told(seen: Counter[str], least: int) -> str:
    """What became of them, in words; raises AssertionError when there were too few."""
    assert seen.total() >= least, f"{seen.total()} inputs instead of {least}"
    return f"{seen.total()} inputs: " + ", ".join(f"{name} {count}" for name, count in seen.most_common())
