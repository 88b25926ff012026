"""An evaluation as data: which policy acted in which episodes, what came of each, and what everyone else did there.

Only outcomes are stored; rates, intervals and tests are computed from them wherever they are needed, so that a report
cannot contradict itself. All actors meet the same trials, so they are compared in pairs. The file is canonical JSON:
equal evaluations are equal bytes, whoever made them, in whatever order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Self, get_args

from volano.embodiment.contract import Family
from volano.errors import Code, EvaluationError
from volano.evaluate.statistics import compare_paired, paired_interval
from volano.evaluate.suite import Success, Trial, TrialResult, summarize
from volano.storage.content import canonical_json, sha256_bytes

SCHEMA = "volano.evaluation.1"
Actor = Literal["policy", "hold", "random", "expert"]
"""Who acts: the policy; two floors, holding still and random chunks of the data; the scripted expert, the ceiling."""
BASELINES: tuple[Actor, ...] = ("hold", "random")
ACTORS: tuple[Actor, ...] = get_args(Actor)
PoolName = Literal["gate", "final"]
POOLS: tuple[PoolName, ...] = get_args(PoolName)


@dataclass(frozen=True, kw_only=True)
class Robot:
    """What an evaluation has to know of an embodiment."""

    family: Family
    fingerprint: str
    """Of its contract."""


@dataclass(frozen=True, kw_only=True)
class GroupSuccess:
    """How often one actor succeeded on the robots of one group."""

    group: str
    actor: Actor
    success: Success


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One actor's success rate minus another's in the episodes that both had."""

    group: str
    baseline: str
    pairs: int
    gained: int
    """Trials in which only the first succeeded."""
    lost: int
    """Trials in which only the baseline succeeded."""
    difference: float
    low: float
    """95 % interval, for pairs."""
    high: float
    p_value: float
    """Exact McNemar, two-sided."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every episode of one policy on one pool of seeds, and the other actors' episodes on the same trials."""

    policy: str
    """Digest of the files that decide what the policy does."""
    pool: PoolName
    chunks: str
    """Dataset version that the random baseline draws from; empty when that baseline did not act."""
    robots: dict[str, Robot]
    """By embodiment tag."""
    results: dict[Actor, tuple[TrialResult, ...]]
    """By who acted, in order of (embodiment, seed)."""

    def __post_init__(self) -> None:
        if self.pool not in POOLS or not set(self.results) <= set(ACTORS):
            raise ValueError(f"{sorted(self.results)} on the pool {self.pool!r} are not of {ACTORS} on {POOLS}")
        if not all(name.isprintable() for name in (self.policy, *self.robots)):
            raise ValueError("a name is not printable")
        for actor, results in self.results.items():
            places = [(result.trial.embodiment, result.trial.seed) for result in results]
            if any(one >= other for one, other in pairwise(places)):
                raise ValueError(f"the episodes of {actor!r} are not in order or not distinct")
            if unknown := {tag for tag, _ in places} - set(self.robots):
                raise ValueError(f"{actor!r} drove unknown robots: {sorted(unknown)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `to_bytes`: how a release names its evaluation."""
        return sha256_bytes(self.to_bytes())

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Family to the tags of its robots."""
        names = sorted({robot.family for robot in self.robots.values()})
        return {name: tuple(sorted(t for t, robot in self.robots.items() if robot.family == name)) for name in names}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What is reported together: each robot, then each family with more than one."""
        alone = {tag: (tag,) for tag in sorted(self.robots)}
        return alone | {family: tags for family, tags in self.families.items() if len(tags) > 1}

    def of(self, actor: Actor, tags: Iterable[str]) -> tuple[TrialResult, ...]:
        """An actor's episodes on these robots."""
        wanted = set(tags)
        return tuple(result for result in self.results.get(actor, ()) if result.trial.embodiment in wanted)

    @property
    def successes(self) -> tuple[GroupSuccess, ...]:
        """Success of every actor that acted, group by group."""
        return tuple(
            GroupSuccess(group=group, actor=actor, success=summarize(self.of(actor, tags)))
            for group, tags in self.groups.items()
            for actor in ACTORS
            if actor in self.results
        )

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The policy against each baseline that acted, group by group."""
        return tuple(
            compare(group, baseline, self.of(baseline, tags), self.of("policy", tags))
            for group, tags in self.groups.items()
            for baseline in BASELINES
            if baseline in self.results
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON, a row per episode; `from_bytes` is its inverse."""
        rows = {
            actor: [{**asdict(result.trial), "success": result.success, "ticks": result.ticks} for result in results]
            for actor, results in self.results.items()
        }
        return canonical_json({"schema": SCHEMA, **asdict(self), "results": rows})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a report; raises EvaluationError(E-EVALUATE-001) unless it is one, as `to_bytes` writes it."""
        try:
            evaluation = cls(**_parse(json.loads(data)))
            if evaluation.to_bytes() != data:
                raise ValueError("its JSON is not in canonical form")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise EvaluationError(
                Code.EVALUATION_FORMAT, f"not an evaluation: {error}", "run python -m jobs.evaluate again"
            ) from error
        return evaluation


def pairs(baseline: Sequence[TrialResult], candidate: Sequence[TrialResult]) -> tuple[list[bool], list[bool]]:
    """Outcomes of both in the trials that both had, in the same order."""
    before = {result.trial: result.success for result in baseline}
    shared = [result for result in candidate if result.trial in before]
    return [before[result.trial] for result in shared], [result.success for result in shared]


def compare(group: str, name: str, baseline: Sequence[TrialResult], candidate: Sequence[TrialResult]) -> Difference:
    """Candidate minus baseline, called `name`, in the trials that both had."""
    before, after = pairs(baseline, candidate)
    test = compare_paired(before, after)
    low, high = paired_interval(before, after)
    return Difference(
        group=group,
        baseline=name,
        pairs=len(before),
        gained=test.gained,
        lost=test.lost,
        difference=test.difference,
        low=low,
        high=high,
        p_value=test.p_value,
    )


def table(evaluation: Evaluation) -> str:
    """The evaluation for people: successes of n with the 95 % interval in percent, then the paired differences."""
    actors = [actor for actor in ACTORS if actor in evaluation.results]
    cells = {(one.group, one.actor): _share(one.success) for one in evaluation.successes}
    rows = [["", *actors]] + [[group, *(cells[group, actor] for actor in actors)] for group in evaluation.groups]
    lines = _aligned(rows)
    if evaluation.differences:
        lines += ["", *_aligned([["policy minus", "", "points", "95 %", "p", "pairs"], *_compared(evaluation)])]
    return "\n".join(lines)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """What `table` shows, for machines."""
    return {
        "policy": evaluation.policy,
        "evaluation": evaluation.digest,
        "pool": evaluation.pool,
        "successes": [asdict(one) for one in evaluation.successes],
        "differences": [asdict(one) for one in evaluation.differences],
    }


def _share(success: Success) -> str:
    if success.n == 0:
        return "no episodes"
    rate = 100 * success.successes / success.n
    return f"{success.successes}/{success.n} {rate:.0f} [{100 * success.low:.0f}, {100 * success.high:.0f}]"


def _compared(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            one.baseline,
            one.group,
            f"{100 * one.difference:+.0f}",
            f"[{100 * one.low:+.0f}, {100 * one.high:+.0f}]",
            f"{one.p_value:.2g}",
            f"{one.pairs}",
        ]
        for one in evaluation.differences
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _parse(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA!r}")
    fields = {name: value for name, value in data.items() if name != "schema"}
    fields["robots"] = {tag: Robot(**robot) for tag, robot in fields["robots"].items()}
    fields["results"] = {actor: tuple(map(result_from_json, rows)) for actor, rows in fields["results"].items()}
    return fields


def result_from_json(row: Mapping[str, Any]) -> TrialResult:
    """One episode of plain data; raises KeyError, TypeError or ValueError when it is none."""
    success, ticks, seed = row["success"], row["ticks"], row["seed"]
    if not isinstance(success, bool) or type(ticks) is not int or type(seed) is not int or len(row) != 5:
        raise ValueError(f"{row} is not an episode")
    trial = Trial(embodiment=str(row["embodiment"]), task=str(row["task"]), seed=seed)
    return TrialResult(trial=trial, success=success, ticks=ticks)
