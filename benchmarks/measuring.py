"""What the benchmarks of the data plane share: seconds of a processor with children, paired ratios, and the file."""

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Result = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a piece of work took."""

    cpu_s: float
    """User and system, of this process and of its children that have ended."""
    wall_s: float


def timed(work: Callable[[], object]) -> Spent:
    """Do it once."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Spent(cpu_s=cpu_seconds() - cpu, wall_s=time.perf_counter() - wall)


def cpu_seconds() -> float:
    """Of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median with a bootstrap interval of 95 %."""
    array: NDArray[np.float64] = np.array(values)
    rng = np.random.default_rng(0)
    medians = np.median(array[rng.integers(len(array), size=(2000, len(array)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(array)), float(low), float(high)


def value(metric: str, values: Sequence[float], *, unit: str, must: float | None, aim: float | None) -> Result:
    """A row without a reference, of which less is better."""
    middle, low, high = interval(values)
    row: Result = {"metric": metric, "ratio": middle, "low": low, "high": high, "n": len(values), "unit": unit}
    return row | {"better": "lower", "must": must, "aim": aim}


def speed(
    metric: str, ours: Sequence[float], other: Sequence[float], *, name: str, must: float | None, aim: float | None
) -> Result:
    """How often our speed holds another's, from the seconds of interleaved pairs."""
    ratio, low, high = interval([there / here for here, there in zip(ours, other, strict=True)])
    row: Result = {"metric": metric, "ours": float(np.median(ours)), "reference": float(np.median(other))}
    row |= {"reference_name": name, "unit": "CPU-seconds", "ratio": ratio, "low": low, "high": high, "n": len(ours)}
    return row | {"better": "higher", "must": must, "aim": aim}


def missing(metric: str, reason: str, *, must: float | None, aim: float | None) -> Result:
    """A row of a peer that is not there."""
    return {"metric": metric, "ratio": None, "reason": reason, "must": must, "aim": aim}


def slope(costs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Exponent of (size, cost) pairs, with a bootstrap interval: the line through the mean costs of sizes that lie
    within a factor of two."""
    sizes, spent = np.array(costs).T
    groups = [spent[np.floor(np.log2(sizes)) == one] for one in np.unique(np.floor(np.log2(sizes)))]
    places = [sizes[np.floor(np.log2(sizes)) == one].mean() for one in np.unique(np.floor(np.log2(sizes)))]
    rng = np.random.default_rng(0)

    def fitted(means: Sequence[float]) -> float:
        return float(np.polyfit(np.log(places), np.log(means), 1)[0])

    drawn = [fitted([rng.choice(group, len(group)).mean() for group in groups]) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return fitted([group.mean() for group in groups]), float(low), float(high)


def sloped(metric: str, costs: Sequence[tuple[float, float]], *, must: float | None, aim: float | None) -> Result:
    """A row of an exponent."""
    exponent, low, high = slope(costs)
    row: Result = {"metric": metric, "ratio": exponent, "low": low, "high": high, "n": len(costs), "unit": "exponent"}
    sizes = [size for size, _ in costs]
    return row | {"better": "lower", "must": must, "aim": aim, "from": min(sizes), "to": max(sizes)}


def report(benchmark: str, results: Sequence[Result], file: Path, *, quick: bool, **also: object) -> None:
    """Write the file, and tell."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    whole = {
        "benchmark": benchmark,
        "machine": f"{machine}, load {os.getloadavg()[0]:.1f}",
        "commit": commit,
        "quick": quick,
        **also,
        "results": list(results),
    }
    file.write_text(json.dumps(whole, indent=1) + "\n")
    if quick:
        print("quick: rough figures")
    for row in results:
        beside = f" over {row['reference_name']}" if "reference_name" in row else ""
        if row["ratio"] is None:
            print(f"{row['metric']}{beside}: none, {row['reason']}")
        else:
            spread = f"[{row['low']:.3g}, {row['high']:.3g}], n = {row['n']}"
            print(f"{row['metric']}{beside}: {row['ratio']:.3g} {spread}; must {row['must']}, aim {row['aim']}")
