"""Evaluations made by hand for tests."""

from collections.abc import Mapping, Sequence

from volano.embodiment.shipped import SHIPPED
from volano.evaluate.report import Actor, Evaluation, PoolName, Robot
from volano.evaluate.suite import SeedPool, TrialResult, trial

Outcomes = Mapping[Actor, Mapping[str, Sequence[bool]]]
"""Who acted, on which robot, and the success of each trial in turn."""


def evaluation(outcomes: Outcomes, *, policy: str = "p" * 64, pool: PoolName = "gate") -> Evaluation:
    """A report of those outcomes."""
    tags = sorted({tag for robots in outcomes.values() for tag in robots})
    return Evaluation(
        policy=policy,
        pool=pool,
        chunks="v" * 64 if "random" in outcomes else "",
        robots={tag: Robot(family=SHIPPED[tag].family, fingerprint=SHIPPED[tag].fingerprint) for tag in tags},
        results={
            actor: tuple(result for tag in sorted(robots) for result in results(tag, robots[tag], pool))
            for actor, robots in outcomes.items()
        },
    )


def results(tag: str, successes: Sequence[bool], pool: PoolName = "gate") -> list[TrialResult]:
    """Episodes of one robot."""
    first = SeedPool[pool.upper()]
    return [
        TrialResult(trial=trial(SHIPPED[tag], ("reach", "close"), number, first), success=success, ticks=number + 1)
        for number, success in enumerate(successes)
    ]


def first(successes: int, n: int) -> list[bool]:
    """That many successes, then failures."""
    return [number < successes for number in range(n)]
