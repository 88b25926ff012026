"""What the benchmarks of the data plane measure: seconds of a piece of work, and how they grow with what there is."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Row, compared

PACKAGES = ("av", "pyarrow")
"""Whose versions a benchmark of the data plane names."""


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a piece of work took."""

    cpu: float
    """User and system, of this process and of its children that have ended."""
    wall: float


def timed(work: Callable[[], object]) -> Seconds:
    """Do it once."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return Seconds(cpu=_cpu() - cpu, wall=time.perf_counter() - wall)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def speed(
    metric: str,
    ours: Sequence[float],
    other: Sequence[float],
    name: str,
    *,
    unit: str = "1 / CPU-second",
    must: float | None = None,
    aim: float | None = None,
) -> Row:
    """How often our speed holds that of another called `name`, from the seconds of interleaved pairs."""
    return compared(
        metric, 1 / np.array(ours), 1 / np.array(other), name, unit=unit, better="higher", must=must, aim=aim
    )


def exponent(
    metric: str, costs: Sequence[tuple[float, float]], *, must: float | None = None, aim: float | None = None
) -> Row:
    """By which power of a size a cost grows, from pairs of both: the line through the mean costs of sizes that lie
    within a factor of two, with a bootstrap interval of 95 %."""
    sizes, spent = np.array(costs).T
    octaves = np.floor(np.log2(sizes))
    groups = [spent[octaves == one] for one in np.unique(octaves)]
    places = np.log([sizes[octaves == one].mean() for one in np.unique(octaves)])
    random = np.random.default_rng(0)

    def fitted(means: Sequence[float]) -> float:
        return float(np.polyfit(places, np.log(means), 1)[0])

    drawn = [fitted([random.choice(group, len(group)).mean() for group in groups]) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    row: Row = {"metric": metric, "ratio": fitted([group.mean() for group in groups]), "low": float(low)}
    row |= {"high": float(high), "n": len(costs), "unit": "exponent", "better": "lower", "must": must, "aim": aim}
    return row | {"from": float(sizes.min()), "to": float(sizes.max())}
