"""How often the rollout's judge errs, and how soon it is right: simulated fleets with fixed seeds.

The wealth process is the library's own, run on many fleets at once; its peers run on the same outcomes: a z-test
repeated after every pair, and the two-by-two block e-process of Turner, Ly and Gruenwald. A few whole rollouts go
through `assign` and `step` as in production. `python -m benchmarks.rollout_errors --json FILE [--quick]`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import arguments_of, write_report
from volano.evaluate.statistics import wilson
from volano.rollout.assign import assign
from volano.rollout.betting import SHIFTS, WAGERS, log_wealth, shift_growth
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.machine import begin, step
from volano.rollout.outcome import Outcome
from volano.rollout.plan import ABTestStep, Rollout
from volano.rollout.state import ABTest

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Result = dict[str, object]
ROBOTS = 10
LOGIT_SD = 0.8
GAPS = ((0.4, 0.8), (0.7, 0.9), (0.5, 0.7), (0.7, 0.85), (0.7, 0.8), (0.3, 0.7))
ALPHA, HARM_ALPHA, FLOOR_ALPHA = 0.05, Guardrails().harm_alpha, Guardrails().floor_alpha
EVENT_ALPHA = Guardrail(name="interventions", metric="interventions", limit=1.0).alpha
NEVER = 10**9


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is simulated."""

    equal_runs: int
    gap_runs: int
    pairs: int
    whole_runs: int


FULL = Size(equal_runs=5000, gap_runs=2000, pairs=500, whole_runs=120)
QUICK = Size(equal_runs=800, gap_runs=300, pairs=500, whole_runs=12)


def outcomes(rng: np.random.Generator, a: float, b: float, runs: int, pairs: int, sd: float) -> tuple[Flags, Flags]:
    """Successes of current and candidate, each of shape (runs, pairs); robots take turns, `sd` apart in logit."""
    shift = sd * rng.standard_normal((runs, ROBOTS))
    robot = np.arange(pairs) % ROBOTS
    rates = [1 / (1 + np.exp(-(math.log(p / (1 - p)) + shift))) for p in (a, b)]
    current, candidate = (rng.random((runs, pairs)) < rate[:, robot] for rate in rates)
    return current, candidate


def first(crossed: Flags) -> Array:
    """Position (from 1) at which each run first crosses; NEVER when it does not."""
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, NEVER).astype(np.float64)


def betting(increments: Array, alpha: float, largest_loss: float = 1.0) -> Array:
    """First crossing of the library's process, some runs at a time to bound memory."""
    pieces = np.array_split(increments, max(1, len(increments) // 200))
    wealth = [log_wealth(piece, largest_loss=largest_loss) for piece in pieces]
    return first(np.concatenate(wealth) >= -math.log(alpha))


def repeated_z_test(current: Flags, candidate: Flags) -> Array:
    """First pair, from the 10th, at which a one-sided z-test at 5 % would promote."""
    n = np.arange(1, current.shape[1] + 1)
    a, b = current.cumsum(axis=1) / n, candidate.cumsum(axis=1) / n
    pooled = (a + b) / 2
    z = (b - a) / np.sqrt(np.maximum(2 * pooled * (1 - pooled) / n, 1e-12))
    return first((z > 1.6449) & (n >= 10))


def two_by_two(current: Flags, candidate: Flags) -> Array:
    """First crossing of the block e-process that bets on estimated rates of both arms."""
    n = np.arange(current.shape[1])
    a = (np.cumsum(current, axis=1) - current + 0.18) / (n + 0.36)
    b = (np.cumsum(candidate, axis=1) - candidate + 0.18) / (n + 0.36)
    b = np.maximum(a, b)
    null = (a + b) / 2
    ratio = np.where(current, a / null, (1 - a) / (1 - null)) * np.where(candidate, b / null, (1 - b) / (1 - null))
    return first(np.log(ratio).cumsum(axis=1) >= -math.log(ALPHA))


def rate_result(metric: str, errors: Flags, must: float, aim: float) -> Result:
    """A share of runs, with its Wilson interval."""
    low, high = wilson(int(errors.sum()), errors.size)
    value = float(errors.mean())
    return _result(metric, "share of runs", errors.size, (value, low, high), must=must, aim=aim, ours=value)


def median_result(metric: str, unit: str, times: Array, rng: np.random.Generator, must: float, aim: float) -> Result:
    """A median time, with its bootstrap interval."""
    low, high = np.quantile([np.median(rng.choice(times, times.size)) for _ in range(400)], (0.025, 0.975))
    value = float(np.median(times))
    return _result(metric, unit, times.size, (value, float(low), float(high)), must=must, aim=aim, ours=value)


def gap_result(a: float, b: float, ours: Array, peer: Array, rng: np.random.Generator) -> Result:
    """Median pairs beside the peer's on the same outcomes."""
    draws = [rng.integers(0, ours.size, ours.size) for _ in range(400)]
    ratios = [min(np.median(ours[draw]), 1e6) / min(np.median(peer[draw]), 1e6) for draw in draws]
    low, high = np.quantile(ratios, (0.025, 0.975))
    medians = float(np.median(ours)), float(np.median(peer))
    found = (medians[0] / medians[1], float(low), float(high))
    metric = f"pairs until a candidate is superior, {a:g} against {b:g}"
    result = _result(metric, "pairs", ours.size, found, must=1.1, aim=1.0, ours=medians[0])
    decided = float((ours < NEVER).mean())
    ninetieth = float(np.quantile(ours, 0.9))
    result |= {"reference": medians[1], "reference_name": "two-by-two block e-process", "decided": decided}
    return result | {"p90": None if ninetieth >= NEVER else ninetieth}


def _result(
    metric: str, unit: str, n: int, found: tuple[float, float, float], *, must: float, aim: float, ours: float
) -> Result:
    ratio, low, high = found
    return {
        "metric": metric,
        "ours": ours,
        "reference": None,
        "reference_name": None,
        "unit": unit,
        "ratio": ratio,
        "low": low,
        "high": high,
        "n": n,
        "better": "lower",
        "must": must,
        "aim": aim,
    }


def equal_policies(size: Size) -> list[Result]:
    """False promotions and false stops when nothing differs, looked at after every pair."""
    results = []
    for seed, rate in enumerate((0.5, 0.7)):
        rng = np.random.default_rng(100 + seed)
        current, candidate = outcomes(rng, rate, rate, size.equal_runs, size.pairs, LOGIT_SD)
        ours = betting(candidate.astype(float) - current, ALPHA) < NEVER
        peer = repeated_z_test(current, candidate) < NEVER
        result = rate_result(f"false promotions of an equal policy at {rate:g}", ours, must=0.05, aim=0.025)
        results.append(result | {"reference": float(peer.mean()), "reference_name": "z-test after every pair"})
    rng = np.random.default_rng(110)
    current, candidate = outcomes(rng, 0.85, 0.85, size.equal_runs, size.pairs, 0.0)
    stopped = np.minimum(*harm_times(current, candidate)) < NEVER
    return [*results, rate_result("false stops of an equal policy at 0.85", stopped, must=0.01, aim=0.01)]


def harm_times(current: Flags, candidate: Flags, floor: float = 0.75) -> tuple[Array, Array]:
    """Candidate episodes until the paired test and until the floor test stop."""
    paired = betting(current.astype(float) - candidate, HARM_ALPHA)
    return paired, betting(floor - candidate.astype(float), FLOOR_ALPHA, largest_loss=1 - floor)


def harm(size: Size) -> list[Result]:
    """How soon a drop from 0.85 to 0.5, and a doubling of interventions, is stopped."""
    rng = np.random.default_rng(120)
    paired, floor = harm_times(*outcomes(rng, 0.85, 0.5, size.gap_runs, 200, 0.0))
    either = np.minimum(paired, floor)
    unit = "candidate episodes"
    return [
        median_result("drop from 0.85 to 0.5 stopped, floor 0.75 declared", unit, either, rng, must=25, aim=20),
        median_result("drop from 0.85 to 0.5 stopped, no floor", unit, paired, rng, must=40, aim=27),
        *interventions(size),
        *events(size),
    ]


def interventions(size: Size) -> list[Result]:
    """The test that is always on: how soon it stops, and how often it should not have."""
    rng, unit = np.random.default_rng(122), "candidate episodes"

    def events_of(mean: float, runs: int, at_once: int = 1) -> Array:
        return rng.poisson(mean / at_once, (runs, 300)).astype(np.float64) * at_once

    doubled = intervention_times(events_of(1.0, size.gap_runs), events_of(2.0, size.gap_runs))
    many = intervention_times(events_of(2.0, size.gap_runs, 10), events_of(8.0, size.gap_runs, 10))
    alike, clustered = (
        intervention_times(events_of(1.0, size.equal_runs, at_once), events_of(1.0, size.equal_runs, at_once)) < NEVER
        for at_once in (1, 5)
    )
    return [
        median_result("interventions doubled from 1 per episode stopped", unit, doubled, rng, must=25, aim=25),
        median_result("interventions four times as many, ten at a time", unit, many, rng, must=65, aim=65),
        rate_result("false stops by interventions, 1 per episode", alike, must=0.01, aim=HARM_ALPHA),
        rate_result("the same where they come five at a time", clustered, must=0.01, aim=HARM_ALPHA),
    ]


def intervention_times(a: Array, b: Array) -> Array:
    """Candidate episodes until the test that is always on stops, by interventions of both arms in equal times."""
    found = np.zeros((len(SHIFTS), *a.shape))
    for pair in {*zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)}:
        if total := int(sum(pair)):
            growth = np.array(shift_growth((pair[1] - pair[0]) / total, total)) / 2**32
            found[:, (a == pair[0]) & (b == pair[1])] = growth[:, None]
    shares = np.log(np.array(list(SHIFTS.values())))[:, None, None]
    return first(np.logaddexp.reduce(found.cumsum(axis=-1) + shares, axis=0) >= -math.log(HARM_ALPHA))


def event_times(a: Array, b: Array, alpha: float) -> Array:
    """Candidate episodes until a guardrail of events breaks, by events of both arms in equal times."""
    total = a + b
    logs = np.stack([(b * math.log(ratio) - total * math.log1p((ratio - 1) / 2)).cumsum(axis=1) for ratio in WAGERS])
    shares = np.log(np.array(list(WAGERS.values())))[:, None, None]
    return first(np.logaddexp.reduce(logs + shares, axis=0) >= -math.log(alpha))


def events(size: Size) -> list[Result]:
    """The conditional binomial guardrail: how soon it breaks, and how often it should not have."""
    rng, unit, alpha = np.random.default_rng(121), "candidate episodes", EVENT_ALPHA
    shape = (size.equal_runs, 300)

    def poisson(mean: float) -> Array:
        return rng.poisson(mean, shape).astype(np.float64)

    doubled = event_times(poisson(1.0), poisson(2.0), alpha)
    alike = event_times(poisson(1.0), poisson(1.0), alpha) < NEVER
    rare = event_times(poisson(0.02), poisson(0.02), alpha) < NEVER
    clustered: list[Array] = [5.0 * (rng.random(shape) < 0.2).astype(np.float64) for _ in range(2)]
    return [
        median_result("events doubled from 1 per episode, as a guardrail", unit, doubled, rng, must=25, aim=20),
        rate_result("false breaks of a guardrail of events, 1 per episode", alike, must=0.01, aim=alpha),
        rate_result("false breaks of a guardrail of events, 1 in 50 episodes", rare, must=0.01, aim=alpha),
        rate_result(
            "the same where events come five at a time, against its assumption",
            event_times(clustered[0], clustered[1], alpha) < NEVER,
            must=1.0,
            aim=alpha,
        ),
    ]


def gaps(size: Size) -> list[Result]:
    """Pairs until a better candidate is seen to be better."""
    results = []
    for seed, (a, b) in enumerate(GAPS):
        rng = np.random.default_rng(130 + seed)
        current, candidate = outcomes(rng, a, b, size.gap_runs, size.pairs, 0.0)
        ours, peer = betting(candidate.astype(float) - current, ALPHA), two_by_two(current, candidate)
        results.append(gap_result(a, b, ours, peer, rng))
    return results


def whole_rollout(seed: int, a: float, b: float, most: int) -> tuple[str, int]:
    """One rollout through `assign` and `step`, judged after every pair: how it ended, and after how many pairs."""
    random = Random(seed)
    document = Rollout(
        id="benchmark",
        embodiments=("0" * 64,),
        current="a" * 64,
        candidate="b" * 64,
        salt=f"seed-{seed}",
        steps=(ABTestStep(min_blocks=10, max_blocks=most),),
    )
    state, evidence, pending = begin(document, 0.0), Evidence.of(document), 0
    for outcome in _fleet(document, random, {"A": a, "B": b}):
        evidence, pending = evidence.extended([outcome]), pending + 1
        if pending < 2:
            continue
        pending = 0
        after, verdict = step(document, state, evidence, 0.0)
        if after != state:
            kind = verdict.reason.split(" after")[0] if verdict.kind == "promote" else verdict.kind
            return kind, int(verdict.numbers["blocks"])
    raise AssertionError("a rollout ends")


def _fleet(document: Rollout, random: Random, rates: dict[str, float]) -> Iterator[Outcome]:
    """Ten robots that differ, two tasks, for ever."""
    counters: dict[tuple[str, str], int] = defaultdict(int)
    shifts = [random.gauss(0.0, LOGIT_SD) for _ in range(ROBOTS)]
    state = ABTest(step=0, since=0.0)
    number = 0
    while True:
        number += 1
        robot, task = number % ROBOTS, random.choice(("reach", "push"))
        counter = counters[f"robot-{robot}", task]
        assigned = assign(document, state, f"robot-{robot}", task, counter)
        if not assigned.arm:
            continue
        counters[f"robot-{robot}", task] += 1
        p = rates[assigned.arm]
        success = random.random() < 1 / (1 + math.exp(-(math.log(p / (1 - p)) + shifts[robot])))
        yield Outcome(
            episode=f"e{number}",
            robot=f"robot-{robot}",
            task=task,
            arm=assigned.arm,
            policy=assigned.policy,
            counter=counter,
            success=success,
            autonomous=True,
            interventions=0,
            duration_s=10.0,
        )


def whole_rollouts(size: Size, most: int = 75) -> list[Result]:
    """A small fleet's A/B test with the default plan: at most `most` pairs, robots and tasks that differ."""
    results = []
    for a, b in ((0.4, 0.8), (0.5, 0.7), (0.7, 0.9), (0.3, 0.7), (0.5, 0.5), (0.8, 0.3)):
        ends = [whole_rollout(seed, a, b, most) for seed in range(size.whole_runs)]
        kinds = Counter(kind for kind, _ in ends)
        wrong = np.array(
            [kind in ("superior", "rollback") if a == b else (kind == "rollback") == (b > a) for kind, _ in ends]
        )
        must = ALPHA + HARM_ALPHA if a == b else 0.05
        result = rate_result(f"wrong ends of a small rollout, {a:g} against {b:g}", wrong, must=must, aim=0.03)
        times = sorted(pairs for _, pairs in ends)
        results.append(result | {"ends": dict(kinds), "median_pairs": times[len(times) // 2]})
    return results


def main() -> None:
    """Run everything and write the table."""
    arguments = arguments_of(__doc__, "within a minute").parse_args()
    size = QUICK if arguments.quick else FULL
    results = [*equal_policies(size), *gaps(size), *harm(size), *whole_rollouts(size)]
    write_report("rollout_errors", arguments.json, quick=arguments.quick, rows=results)
    for result in results:
        extra = {key: result[key] for key in ("p90", "decided", "ends", "median_pairs") if key in result}
        print(f"{result['metric']}: {result['ours']} (reference {result['reference']}) {extra or ''}")


if __name__ == "__main__":
    main()
