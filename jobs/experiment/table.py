"""What an experiment found: mean success of each arm over its seeds, and each claim's difference with its interval.

Pure. Arms are compared in pairs of equal seeds, since these share their data order and evaluation seeds; intervals are
Student's over seeds, so five of them say little and the table says so.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from scipy.stats import t as student

from jobs.experiment.arms import Claim

Finding = Literal["reproduces", "contradicts", "undecided", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One shard's."""

    arm: str
    seed: int
    successes: dict[str, tuple[int, int]]
    """Embodiment to (successes, episodes)."""

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Of the file that a shard wrote."""
        successes = data["successes"]
        assert isinstance(successes, dict)
        return cls(
            arm=str(data["arm"]),
            seed=int(str(data["seed"])),
            successes={tag: (int(k), int(n)) for tag, (k, n) in successes.items()},
        )

    def rate(self, tags: Sequence[str]) -> float:
        """Mean success over these embodiments, each weighing the same."""
        return statistics.fmean(self.successes[tag][0] / self.successes[tag][1] for tag in tags)


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds with its 95 % interval; the interval is infinite for fewer than two."""

    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim and what the experiment says of it."""

    claim: Claim
    difference: Mean | None
    """Better arm minus worse arm; None when no seed has both."""
    finding: Finding


def mean(values: Sequence[float]) -> Mean:
    """Student's interval."""
    centre, count = statistics.fmean(values), len(values)
    if count < 2:
        return Mean(value=centre, low=-math.inf, high=math.inf, seeds=count)
    half = float(student.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return Mean(value=centre, low=centre - half, high=centre + half, seeds=count)


def by_arm(results: Iterable[Result]) -> dict[str, dict[int, Result]]:
    """Arm to seed to result."""
    found: dict[str, dict[int, Result]] = {}
    for result in sorted(results, key=lambda one: one.seed):
        found.setdefault(result.arm, {})[result.seed] = result
    return found


def judge(claim: Claim, found: Mapping[str, Mapping[int, Result]]) -> Judged:
    """The claim's difference on the seeds that both arms have, over the embodiments that both played."""
    better, worse = found.get(claim.better, {}), found.get(claim.worse, {})
    differences = []
    for seed in sorted(better.keys() & worse.keys()):
        tags = sorted(
            better[seed].successes.keys() & worse[seed].successes.keys() & set(claim.plays or better[seed].successes)
        )
        differences.append(better[seed].rate(tags) - worse[seed].rate(tags))
    if not differences:
        return Judged(claim=claim, difference=None, finding="not measured")
    difference = mean(differences)
    finding: Finding = "reproduces" if difference.low > 0 else "contradicts" if difference.high < 0 else "undecided"
    return Judged(claim=claim, difference=difference, finding=finding)


def generalist_share(found: Mapping[str, Mapping[int, Result]], tags: Sequence[str]) -> Mean | None:
    """The generalist's mean success as a share of its specialists', over seeds that have all of them."""
    needed = ["base", *(f"specialist_{tag}" for tag in tags)]
    if any(name not in found for name in needed):
        return None
    seeds = set.intersection(*(set(found[name]) for name in needed))
    ratios = []
    for seed in sorted(seeds):
        specialists = statistics.fmean(found[f"specialist_{tag}"][seed].rate([tag]) for tag in tags)
        if specialists > 0:
            ratios.append(found["base"][seed].rate(tags) / specialists)
    return mean(ratios) if ratios else None


def markdown(results: Sequence[Result], claims: Sequence[Claim], tags: Sequence[str]) -> str:
    """The whole report as text."""
    found = by_arm(results)
    lines = ["| arm | seeds | " + " | ".join(tags) + " |", "| --- " * (2 + len(tags)) + "|"]
    for arm, seeds in found.items():
        cells = []
        for tag in tags:
            rates = [one.rate([tag]) for one in seeds.values() if tag in one.successes]
            cells.append(in_percent(mean(rates)) if rates else "")
        lines.append(f"| {arm} | {len(seeds)} | " + " | ".join(cells) + " |")
    lines += ["", "| the paper says | points, 95 % | seeds | here |", "| --- | --- | --- | --- |"]
    for judged in (judge(claim, found) for claim in claims):
        points = in_percent(judged.difference) if judged.difference else ""
        count = judged.difference.seeds if judged.difference else 0
        lines.append(f"| {judged.claim.says} | {points} | {count} | {judged.finding} |")
    share = generalist_share(found, tags)
    if share is not None:
        lines += [
            "",
            f"One policy for all reaches {in_percent(share)} % of its specialists' mean ({share.seeds} seeds).",
        ]
    return "\n".join(lines) + "\n"


def in_percent(found: Mean) -> str:
    """Mean and interval, as whole percent; the mean alone where one seed gives no interval."""
    if not math.isfinite(found.low):
        return f"{100 * found.value:.0f}"
    return f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
