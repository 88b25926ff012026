"""Closed-loop evaluation: fixed seeds that no other step uses, one row per episode, whatever acts.

Seeds come from disjoint pools, so that no evaluation episode was ever trained on, mined, or used by another gate.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from volano.embodiment.contract import Embodiment
from volano.errors import Code, EvaluationError
from volano.evaluate.simulator import FloatArray, Simulator
from volano.evaluate.statistics import wilson
from volano.model.actions import chunk_rows
from volano.storage.content import canonical_json

Chooser = Callable[[Simulator], FloatArray]
"""A simulator, to be looked at or not, to a chunk of shape (horizon, channels) in physical units."""


class SeedPool(IntEnum):
    """First seed of each pool; a pool holds a million."""

    FLEET = 0
    GATE = 1_000_000
    FINAL = 2_000_000
    EXPERIMENT = 3_000_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One evaluation episode to run."""

    embodiment: str
    task: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of it."""

    trial: Trial
    success: bool
    ticks: int


def trial(embodiment: Embodiment, tasks: tuple[str, ...], number: int, pool: SeedPool) -> Trial:
    """The trial of that number: its task by turns, its seed by counting, however many trials there are."""
    return Trial(embodiment=embodiment.tag, task=tasks[number % len(tasks)], seed=int(pool) + number)


def noise_seed(trial: Trial) -> int:
    """Seed of whatever an actor draws by chance in a trial; the same for every actor, on every machine."""
    text = canonical_json([trial.embodiment, trial.task, trial.seed])
    return int.from_bytes(hashlib.sha256(text).digest()[:7])


def run_trial(simulator: Simulator, trial: Trial, choose: Chooser) -> TrialResult:
    """One episode: ask for a chunk, execute its first rows, ask again, until the simulator says done."""
    simulator.reset(trial.task, trial.seed)
    execute = simulator.embodiment.execute
    ticks = 0
    while True:
        if ticks % execute == 0:
            chunk = choose(simulator)
        step = simulator.act(chunk, ticks % execute)
        ticks += 1
        if step.done:
            return TrialResult(trial=trial, success=step.success, ticks=ticks)


def run_expert(simulator: Simulator, trial: Trial) -> TrialResult:
    """The scripted expert on the same episode: the ceiling."""
    simulator.reset(trial.task, trial.seed)
    ticks = 0
    while True:
        step = simulator.assist(0.0)
        ticks += 1
        if step.done:
            return TrialResult(trial=trial, success=step.success, ticks=ticks)


def hold_still(embodiment: Embodiment) -> Chooser:
    """The first floor: never move."""
    chunk = np.tile(np.array(embodiment.hold, np.float32), (embodiment.horizon, 1))
    return lambda simulator: chunk  # noqa: ARG005 - a chooser that does not look


def draw_chunks(embodiment: Embodiment, recorded: Sequence[FloatArray], most: int) -> FloatArray:
    """Up to `most` whole chunks of recorded episodes, each of shape (ticks, channels), as the policy would answer them:
    (n, horizon, channels), the same for the same data. Raises EvaluationError(E-EVALUATE-002) when there is none."""
    starts = [
        (number, start) for number, rows in enumerate(recorded) for start in range(len(rows) - embodiment.horizon + 1)
    ]
    if not starts:
        raise EvaluationError(
            Code.EVALUATION_DATA,
            f"no recorded episode of {embodiment.tag!r} has {embodiment.horizon} ticks",
            "name a dataset version with whole episodes of every embodiment, or leave the baselines out",
        )
    chosen = np.random.default_rng(0).permutation(len(starts))[:most]
    return np.stack([chunk_rows(embodiment, recorded[starts[row][0]], starts[row][1]) for row in chosen])


def random_chunk(chunks: FloatArray, seed: int) -> Chooser:
    """The second floor: chunks drawn from the data, shape (n, horizon, channels), blind to the observation."""
    random = np.random.default_rng(seed)
    return lambda simulator: chunks[random.integers(len(chunks))]  # noqa: ARG005 - blind on purpose


@dataclass(frozen=True, kw_only=True)
class Success:
    """Successes of n episodes with the 95 % interval of the rate."""

    successes: int
    n: int
    low: float
    high: float


def summarize(results: Sequence[TrialResult]) -> Success:
    """Success over these episodes."""
    successes = sum(result.success for result in results)
    low, high = wilson(successes, len(results))
    return Success(successes=successes, n=len(results), low=low, high=high)
