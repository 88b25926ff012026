"""What whole rollouts decide where other tools were wrong: through `assign`, `step` and `replay`, with fixed seeds.

Sparse, missing and misnamed data, a zero baseline, harm hidden in one task, a safety stop, robots that are away for a
day, and verdicts made again. `python -m benchmarks.rollout_cases --json FILE [--quick]`.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import numpy as np

from benchmarks.report import Row, arguments_of, tell
from volano.evaluate.statistics import wilson
from volano.rollout.assign import assign
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.machine import Slice, Verdict, begin, replay, step
from volano.rollout.outcome import Outcome
from volano.rollout.plan import ABTestStep, Rollout
from volano.rollout.state import ABTest, Promoted, State
from volano.rollout.weights import weigh

TASKS = ("reach", "push")
Rates = dict[tuple[str, str], float]
"""Success by task and arm."""
ALIKE: Rates = {(task, arm): 0.7 for task in TASKS for arm in "AB"}
WORSE: Rates = {(task, arm): 0.5 if arm == "B" else 0.7 for task in TASKS for arm in "AB"}
BETTER: Rates = {(task, arm): 0.9 if arm == "B" else 0.5 for task in TASKS for arm in "AB"}


def plan(seed: int, **changes: object) -> Rollout:
    """An A/B test of at most a hundred pairs."""
    fields: dict[str, object] = {
        "id": "case",
        "embodiments": ("0" * 64,),
        "current": "a" * 64,
        "candidate": "b" * 64,
        "salt": f"seed-{seed}",
        "steps": (ABTestStep(min_blocks=10, max_blocks=100),),
    }
    return Rollout(**{**fields, **changes})  # type: ignore[arg-type]  # any field, by name


def fleet(document: Rollout, random: Random, rates: Rates, robots: int = 10) -> Iterator[Outcome]:
    """Robots in turn, with shifts of their own, each at a task drawn anew; for ever."""
    counters: dict[tuple[str, str], int] = defaultdict(int)
    shifts = [random.gauss(0.0, 0.8) for _ in range(robots)]
    number = 0
    while True:
        number += 1
        name, task = f"robot-{number % robots}", random.choice(TASKS)
        counter = counters[name, task]
        given = assign(document, ABTest(step=0, since=0.0), name, task, counter)
        if not given.arm:
            continue
        counters[name, task] += 1
        rate = rates[task, given.arm]
        success = random.random() < 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) + shifts[number % robots])))
        yield Outcome(
            episode=f"{name}/{number}",
            robot=name,
            task=task,
            arm=given.arm,
            policy=given.policy,
            counter=counter,
            success=success,
            autonomous=True,
            interventions=0,
            duration_s=30.0,
            site=f"site-{number % robots % 2}",
        )


def judged(document: Rollout, outcomes: Iterator[Outcome], most: int, every: int = 1) -> tuple[Verdict, int]:
    """Looked at after `every` episode until something changes, at most `most` episodes; the verdict, and how many."""
    state: State = begin(document, 0.0)
    evidence = Evidence.of(document)
    after, verdict = step(document, state, evidence, 0.0)
    for number in range(every, most + 1, every):
        evidence = evidence.extended([next(outcomes) for _ in range(every)])
        after, verdict = step(document, state, evidence, float(number))
        if after != state:
            return verdict, number
    return verdict, most


def _case(
    name: str,
    runs: int,
    make: Callable[[int, Random], tuple[Rollout, Iterator[Outcome]]],
    most: int,
    good: str,
    must: float = 0.0,
    every: int = 1,
) -> Row:
    """How many of the rollouts end as they should, and what all of them said."""
    kinds: Counter[str] = Counter(judged(*make(seed, Random(seed)), most, every)[0].kind for seed in range(runs))
    wrong = runs - sum(kinds[kind] for kind in good.split(" or "))
    low, high = wilson(wrong, runs)
    return {
        "metric": f"{name}: anything but {good}",
        "ratio": wrong / runs,
        "low": low,
        "high": high,
        "n": runs,
        "unit": "share of rollouts",
        "better": "lower",
        "must": must,
        "aim": 0.0,
        "verdicts": dict(kinds),
    }


def cases(runs: int) -> list[Row]:
    """What must not be promoted."""
    never = "hold or rollback or need_human"

    def changed(
        change: Callable[[Outcome, Random], Outcome | None], rates: Rates = BETTER, robots: int = 10, **fields: object
    ) -> Callable[[int, Random], tuple[Rollout, Iterator[Outcome]]]:
        def make(seed: int, random: Random) -> tuple[Rollout, Iterator[Outcome]]:
            document = plan(seed, **fields)
            found = (change(one, random) for one in fleet(document, random, rates, robots))
            return document, (one for one in found if one is not None)

        return make

    def stops(one: Outcome, random: Random) -> Outcome:
        helped = one.arm == "B" and random.random() < 0.5
        return replace(one, interventions=int(helped), success=True)

    hidden: Rates = {("reach", "A"): 0.4, ("reach", "B"): 0.97, ("push", "A"): 0.95, ("push", "B"): 0.3}
    misnamed = (Guardrail(name="late", metric="latncy_ms", limit=50.0, most=200.0),)
    tolerant = Guardrails(max_safety_stops=0)
    return [
        _case("five episodes, all won by the candidate", runs, changed(lambda o, _: _won(o)), 5, never),
        _case("baseline without an intervention, candidate with some", runs, changed(stops, ALIKE), 200, "rollback"),
        _case("gains in one task, losses in the other", runs, changed(lambda o, _: o, hidden), 200, "rollback", 0.05),
        _case("a guardrail whose metric no episode brings", runs, changed(lambda o, _: o, watch=misnamed), 400, never),
        _case("labels that nobody writes", runs, changed(lambda o, _: replace(o, success=None)), 400, never),
        _case(
            "a worse candidate, the labels of its failures lost", runs, changed(_failures_unlabelled, WORSE), 400, never
        ),
        _case("a worse candidate, uploads of its failures lost", runs, changed(_failures_lost, WORSE), 400, never),
        _case(
            "the same among a hundred robots, looked at after every tenth episode",
            max(runs // 2, 1),
            changed(_failures_lost, WORSE, robots=100),
            4000,
            never,
            every=10,
        ),
        _case(
            "a better candidate among a hundred robots, looked at after every tenth episode",
            max(runs // 2, 1),
            changed(lambda o, _: o, BETTER, robots=100),
            4000,
            "promote",
            every=10,
        ),
        _case("data that stop after ten episodes", runs, changed(lambda o, _: o), 10, never),
        _case(
            "one safety stop of the candidate, in its first episode",
            runs,
            changed(lambda o, _: replace(o, safety_stops=1) if o.arm == "B" else None, guardrails=tolerant),
            1,
            "rollback",
        ),
    ]


def _won(one: Outcome) -> Outcome:
    return replace(one, success=one.arm == "B")


def _failures_unlabelled(one: Outcome, random: Random) -> Outcome:
    del random
    return replace(one, success=None) if one.arm == "B" and not one.success else one


def _failures_lost(one: Outcome, random: Random) -> Outcome | None:
    del random
    return None if one.arm == "B" and not one.success else one


def verdicts_again(verdicts: int) -> Row:
    """Verdicts made again from their slices, which went through JSON as the audit log writes it; bytes compared."""
    same = total = 0
    for seed in range(verdicts // 50):
        document, random = plan(seed, steps=(ABTestStep(min_blocks=10, max_blocks=10_000),)), Random(seed)
        source, late, slices = fleet(document, random, (ALIKE, BETTER)[seed % 2]), [], []
        for look in range(50):
            fresh = [next(source) for _ in range(4)]
            late += [one for one in fresh if random.random() < 0.3]
            came = [one for one in fresh if one not in late] + [late.pop() for _ in range(len(late) // 2)]
            slices.append(Slice(now=float(look), outcomes=tuple(came + came[:1])))
        first = replay(document, 0.0, slices)
        kept = [json.loads(json.dumps([one.to_json() for one in piece.outcomes])) for piece in slices]
        again = replay(
            Rollout.from_json(json.loads(json.dumps(document.to_json()))),
            0.0,
            [
                replace(piece, outcomes=tuple(map(Outcome.from_json, plain)))
                for piece, plain in zip(slices, kept, strict=True)
            ],
        )
        same += sum(json.dumps(a.to_json()) == json.dumps(b.to_json()) for a, b in zip(first, again, strict=True))
        total += len(first)
    return _share("verdicts that are not made again bit for bit", total - same, total)


def _share(metric: str, wrong: int, n: int, must: float = 0.0, unit: str = "share of verdicts") -> Row:
    low, high = wilson(wrong, n)
    row: Row = {"metric": metric, "ratio": wrong / n, "low": low, "high": high, "n": n, "unit": unit}
    return row | {"better": "lower", "must": must, "aim": must}


def away(runs: int) -> list[Row]:
    """A day with an episode of each robot every half hour and a look every hour; three of ten robots send nothing until
    the next morning, then everything, twice and in disorder."""
    undecided, counted_twice, hours = 0, 0, []
    for seed in range(runs):
        document, random = plan(seed, steps=(ABTestStep(min_blocks=10, max_blocks=400),)), Random(seed)
        source = fleet(document, random, BETTER)
        day = [next(source) for _ in range(10 * 48)]
        gone = {f"robot-{number}" for number in range(3)}
        present, missing = ([one for one in day if (one.robot in gone) == away] for away in (False, True))
        state: State = begin(document, 0.0)
        evidence, decided = Evidence.of(document), 24
        for hour in range(24):
            evidence = evidence.extended(present[hour * 14 : hour * 14 + 14])
            state, _ = step(document, state, evidence, 3600.0 * (hour + 1))
            if isinstance(state, Promoted):
                decided = hour + 1
                break
        undecided += not isinstance(state, Promoted)
        hours.append(decided)
        arrived = present[: decided * 14]
        late = evidence.extended(random.sample(missing, len(missing))).extended(random.sample(missing, len(missing)))
        at_once = Evidence.of(document).extended([*arrived, *missing])
        counted_twice += (late.digest, weigh(late)) != (at_once.digest, weigh(at_once))
        state, _ = step(document, state, late, 90_000.0)
    median = sorted(hours)[len(hours) // 2]
    draws = [np.median(np.random.default_rng(number).choice(hours, runs)) for number in range(400)]
    low, high = np.quantile(draws, (0.025, 0.975))
    verdict: Row = {
        "metric": "hours to a verdict while three of ten robots are away",
        "ratio": float(median),
        "low": float(low),
        "high": float(high),
        "n": runs,
        "unit": "h",
        "better": "lower",
        "must": 24.0,
        "aim": 24.0,
    }
    return [
        _share("better candidates undecided after that day", undecided, runs, 0.05, "share of rollouts"),
        verdict,
        _share("late evidence counted otherwise than once", counted_twice, runs, 0.0, "share of rollouts"),
    ]


def main() -> None:
    """Run everything and write the table."""
    arguments = arguments_of(__doc__, "within a minute").parse_args()
    runs, verdicts = (20, 200) if arguments.quick else (200, 1000)
    rows = [*cases(runs), verdicts_again(verdicts), *away(runs)]
    tell("rollout_cases", arguments.json, quick=arguments.quick, rows=rows)


if __name__ == "__main__":
    main()
