"""A rollout's document for tests, and simulated fleets that really go through `assign`."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from volano.rollout.assign import Arm, assign
from volano.rollout.outcome import Outcome, ShadowOutcome
from volano.rollout.plan import ABTestStep, CanaryStep, Rollout, ShadowStep
from volano.rollout.state import ABTest, State
from volano.storage.content import sha256_bytes

CURRENT, CANDIDATE, OTHER = (sha256_bytes(name.encode()) for name in ("current", "candidate", "other"))
TESTING = ABTest(step=2, since=0.0)


def plan(**changes: object) -> Rollout:
    """A small but complete document."""
    document = Rollout(
        id="r1",
        embodiments=("f" * 64,),
        current=CURRENT,
        candidate=CANDIDATE,
        salt="salt-1",
        steps=(
            ShadowStep(min_episodes=3),
            CanaryStep(percent=50.0, min_episodes=4),
            ABTestStep(min_blocks=5, max_blocks=80),
        ),
    )
    return replace(document, **changes)  # type: ignore[arg-type]  # any field, by name


def outcome(
    document: Rollout, robot: str, task: str, counter: int, success: bool | None = True, **changes: object
) -> Outcome:
    """The outcome of a robot's measured episode, with the arm and policy that `assign` gives it."""
    assigned = assign(document, TESTING, robot, task, counter)
    assert assigned.arm
    found = Outcome(
        episode=sha256_bytes(f"{robot}/{task}/{counter}".encode()),
        robot=robot,
        task=task,
        arm=assigned.arm,
        policy=assigned.policy,
        counter=counter,
        success=success,
        autonomous=True,
        interventions=0,
        duration_s=20.0,
    )
    return replace(found, **changes)  # type: ignore[arg-type]  # any field, by name


def shadow(number: int, *, answers: int = 10, invalid: int = 0, late: int = 0) -> ShadowOutcome:
    """One shadowed episode, clean by default."""
    return ShadowOutcome(episode=f"s{number}", robot=f"r{number}", answers=answers, invalid=invalid, late=late)


def fleet(
    document: Rollout,
    random: Random,
    rate: Callable[[str, str, Arm], float],
    robots: int = 8,
    tasks: tuple[str, ...] = ("reach", "push"),
    state: State = TESTING,
) -> Iterator[Outcome]:
    """Episodes of a fleet, robot after robot; `rate` is the success rate of robot, task and arm."""
    counters: dict[tuple[str, str], int] = defaultdict(int)
    for _ in range(5000):
        for number in range(robots):
            robot, task = f"robot-{number}", random.choice(tasks)
            counter = counters[robot, task]
            assigned = assign(document, state, robot, task, counter)
            if not assigned.arm:
                continue
            counters[robot, task] += 1
            yield outcome(document, robot, task, counter, random.random() < rate(robot, task, assigned.arm))
