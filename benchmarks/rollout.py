"""What deciding a rollout costs: a million robots assigned anew, and a look at evidence that keeps growing.

The limit of assignment is hashing every robot with the same vectorised hash; a look is held against its own cost at a
thousandth of the history. `python -m benchmarks.rollout --json FILE [--quick]`; ten million outcomes
take ten minutes of a processor and 5 GB.
"""

import gc
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from benchmarks.report import Row, arguments_of, compared, measured, tell
from volano.rollout.assign import planned_arm
from volano.rollout.evidence import Evidence
from volano.rollout.exposure import EXPOSED, Fleet, exclusions, places, seeds
from volano.rollout.machine import step
from volano.rollout.outcome import Outcome
from volano.rollout.plan import ABTestStep, Rollout
from volano.rollout.state import ABTest

ROBOTS = 1_000_000
STRATA = [
    (f"robot-{number:04d}", task) for number in range(1000) for task in ("reach", "push", "pick", "place", "open")
]
STATE = ABTest(step=0, since=0.0)


def plan(salt: str = "benchmark", **changes: object) -> Rollout:
    """A rollout with every list of its selector in use."""
    document: dict[str, object] = {
        "id": "benchmark",
        "embodiments": ("0" * 64,),
        "current": "a" * 64,
        "candidate": "b" * 64,
        "salt": salt,
        "steps": (ABTestStep(min_blocks=10, max_blocks=10**9),),
        "holdout": 0.05,
        "sites": tuple(f"site-{number}" for number in range(450)),
        "allow": tuple(f"robot-{number}" for number in range(100)),
        "deny": tuple(f"robot-{number}" for number in range(100, 200)),
        "pins": {f"robot-{number}": "c" * 64 for number in range(200, 300)},
    }
    return Rollout(**{**document, **changes})  # type: ignore[arg-type]  # any field, by name


def seconds(work: Callable[[], object]) -> float:
    """Of doing it once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def assignment(robots: int, rounds: int) -> list[Row]:
    """A whole fleet at a new step of a ramp, in turn with the hash alone."""
    fleet = Fleet.of([(f"robot-{n}", f"site-{n % 500}", ("arm", "car", "scout")[n % 3]) for n in range(robots)])
    plain, celled = plan(), plan(max_per_cell=1)
    seed = seeds("benchmark", "exposure")
    floor, ours, cells = np.array(
        [
            [
                seconds(lambda: places(fleet.keys, seed)),
                seconds(lambda: exclusions(plain, 25.0, fleet)),
                seconds(lambda: exclusions(celled, 25.0, fleet)),
            ]
            for _ in range(rounds)
        ]
    ).T
    name, unit = "the vectorised hash of every robot", "s"
    what = f"assigning {robots:,} robots anew"
    return [
        measured(what, ours.tolist(), unit=unit, must=0.5, aim=0.2),
        compared(what, ours, floor, name, unit=unit, better="lower", must=8.0, aim=4.0),
        measured(f"{what}, one of each cell", cells.tolist(), unit=unit, must=0.5, aim=0.2),
        compared(f"{what}, one of each cell", cells, floor, name, unit=unit, better="lower", must=8.0, aim=4.0),
        *balance(fleet),
    ]


def balance(fleet: Fleet) -> list[Row]:
    """How far shares are from what they should be, over twenty salts; flips along a ramp; how salts hang together."""
    bare = {"sites": (), "allow": (), "deny": (), "pins": {}, "holdout": 0.0}
    halves = [exclusions(plan(f"salt-{number}", **bare), 50.0, fleet) == EXPOSED for number in range(20)]
    ramp = [exclusions(plan("ramp"), percent, fleet) == EXPOSED for percent in np.linspace(0, 100, 41)]
    flips = sum(int((before & ~after).sum()) for before, after in pairwise(ramp))
    cell = [np.abs(np.bincount(fleet.cell, half) / np.bincount(fleet.cell) - 0.5).max() for half in halves]
    alike = [abs(float(np.corrcoef(one, other)[0, 1])) for one, other in pairwise(halves)]
    return [
        measured(
            "share exposed at 50 %, off by", [abs(float(half.mean()) - 0.5) for half in halves], unit="", must=0.003
        ),
        measured("the same in the worst of 1,500 cells", [float(worst) for worst in cell], unit=""),
        measured("robots that leave a ramp of forty steps", [float(flips)], unit="robots", must=0.0),
        measured("correlation of two salts' exposures, at most", [max(alike)], unit="", must=0.005),
    ]


def episodes(document: Rollout, counter: int) -> Iterator[Outcome]:
    """The episode of this number of every robot and task; one in ten fails."""
    for number, (robot, task) in enumerate(STRATA):
        arm = planned_arm(document.salt, robot, task, counter)
        yield Outcome(
            episode=f"{task}-{counter}",
            robot=robot,
            task=task,
            arm=arm,
            policy=document.candidate if arm == "B" else document.current,
            counter=counter,
            success=(7 * number + 13 * counter) % 10 > 0,
            autonomous=True,
            interventions=int((number + counter) % 50 == 0),
            duration_s=20.0,
        )


def histories(document: Rollout, largest: int) -> dict[int, Evidence]:
    """Evidence of 5,000 episodes, ten times as many, and so on; each is a version of the next."""
    evidence, found, size, counter = Evidence.of(document), {}, 0, 0
    while size < largest:
        evidence = evidence.extended(episodes(document, counter))
        counter, size = counter + 1, size + len(STRATA)
        if size in {largest // 10**power for power in range(8)}:
            found[size] = evidence
    return found


def look(evidence: Evidence, outcome: Outcome) -> None:
    """One more outcome, and the judge's word on all of it."""
    step(evidence.document, STATE, evidence.extended([outcome]), 1.0)


def decisions(largest: int, rounds: int) -> list[Row]:
    """A look at one more episode, at each size of history in turn; and how its cost grows."""
    document = plan()
    found = histories(document, largest)
    late = list(episodes(document, 2 * largest // len(STRATA) + 2))[:rounds]
    gc.collect()
    gc.freeze()
    gc.disable()
    taken = np.array(
        [[seconds(lambda e=evidence, o=outcome: look(e, o)) for evidence in found.values()] for outcome in late]  # type: ignore[misc]
    )
    gc.enable()
    sizes = np.log(np.array(list(found), dtype=np.float64))
    random = np.random.default_rng(0)
    slopes = [
        np.polyfit(sizes, np.log(np.median(taken[random.integers(rounds, size=rounds)], axis=0)), 1)[0]
        for _ in range(1000)
    ]
    low, high = np.quantile(slopes, (0.025, 0.975))
    slope: Row = {
        "metric": f"growth of a look's cost with its history, {min(found):,} to {max(found):,} outcomes",
        "ratio": float(np.polyfit(sizes, np.log(np.median(taken, axis=0)), 1)[0]),
        "low": float(low),
        "high": float(high),
        "n": rounds,
        "unit": "exponent",
        "better": "lower",
        "must": 0.05,
        "aim": 0.05,
    }
    anew = [seconds(lambda: Evidence.of(document).extended(episodes(document, 0))) for _ in range(3)]
    known = taken[:, -1]
    rows = [
        measured(f"a look at {size:,} outcomes", taken[:, column].tolist(), unit="s")
        for column, size in enumerate(found)
    ]
    what = f"a look at {max(found):,} outcomes"
    name = "counting 5,000 outcomes anew"
    return [slope, *rows, compared(what, known[:3], anew, name, unit="s", better="lower")]


def main() -> None:
    """Run everything and write the table."""
    parser = arguments_of(__doc__, "within a minute")
    parser.add_argument("--outcomes", type=int, default=10_000_000, help="of the longest history")
    arguments = parser.parse_args()
    robots, largest, rounds = (100_000, 50_000, 60) if arguments.quick else (ROBOTS, arguments.outcomes, 400)
    rows = [*assignment(robots, 15), *decisions(largest, rounds)]
    tell("rollout", arguments.json, quick=arguments.quick, rows=rows, packages=("numpy", "rpds-py"))


if __name__ == "__main__":
    main()
