"""What a simulated flywheel does, in numbers: which robots, how many attempts of what, how many episodes decide.

Attempts are functions of the plan: the same plan names the same attempts with the same seeds, so that a fleet that is
started again continues. Seeds of different phases never meet, nor do they meet those of evaluations.
"""

from dataclasses import dataclass, field
from typing import Any

from volano.rollout.plan import ABTestStep, CanaryStep, ShadowStep, Step

TASKS = {
    "sawyer": ("drawer-close-v3", "button-press-topdown-v3", "window-open-v3", "door-open-v3"),
    "car": ("left", "straight", "right"),
    "glider": ("red", "blue"),
    "scout": ("red", "blue"),
}
PHASES = {"demonstrate": 0, "practise": 300_000, "rollout": 600_000}
"""First seed of each phase, all within the fleet's pool."""
_SEEDS_PER_ROBOT = 10_000


@dataclass(frozen=True, kw_only=True)
class FlywheelPlan:
    """Everything that may be chosen."""

    robots: tuple[str, ...] = tuple(f"{tag}-{number:02d}" for tag in TASKS for number in (1, 2, 3))
    """In the order in which they start: those with long attempts first, so that none is left alone at the end."""
    misbehave: dict[str, str] = field(
        default_factory=lambda: {"scout-03": "truncate", "car-03": "nan", "glider-03": "resend"}
    )
    """Robots with a defect, and which."""
    demonstrations: dict[str, int] = field(
        default_factory=lambda: {"sawyer": 220, "scout": 200, "glider": 180, "car": 260}
    )
    """Expert episodes per embodiment, shared among its sound robots."""
    faulty: int = 4
    """Episodes of a robot with a defect, in the first phase only."""
    noise: float = 0.5
    """Disturbance of the expert in two of three demonstrations, so that they show how to recover."""
    practice: int = 6
    """Episodes per sound robot under the first policy, before the second round."""
    evaluation: int = 52
    """Episodes per family of an evaluation."""
    waves: tuple[int, ...] = (2, 4, 6)
    """Episodes per robot between two looks of a rollout; after the last the flywheel stops waiting for a verdict."""
    canaries: tuple[str, ...] = ("sawyer-01", "scout-01", "glider-01", "car-01")
    """Robots that meet a candidate first."""
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Recipe to `key=value` settings of its runs."""
    steps: tuple[Step, ...] = (
        ShadowStep(min_episodes=8),
        CanaryStep(percent=40.0, min_episodes=8),
        ABTestStep(min_blocks=10, max_blocks=60),
    )

    @property
    def sound(self) -> tuple[str, ...]:
        """Robots without a defect."""
        return tuple(robot for robot in self.robots if robot not in self.misbehave)


def demonstrations(plan: FlywheelPlan) -> list[dict[str, Any]]:
    """Attempts in which the expert shows every task."""
    attempts = []
    for robot in plan.robots:
        peers = [other for other in plan.sound if embodiment_of(other) == embodiment_of(robot)]
        whole = plan.demonstrations[embodiment_of(robot)]
        share = plan.faulty if robot in plan.misbehave else -(-whole // len(peers))
        attempts += [
            _attempt(plan, "demonstrate", robot, number, mode="expert", noise=_disturbance(plan, robot, number))
            for number in range(share)
        ]
    return attempts


def _disturbance(plan: FlywheelPlan, robot: str, number: int) -> float:
    """None for one round of the tasks in three, so that every task is shown both ways."""
    return plan.noise if number // len(TASKS[embodiment_of(robot)]) % 3 else 0.0


def practice(plan: FlywheelPlan) -> list[dict[str, Any]]:
    """Attempts of the served policy, with the expert standing by."""
    return [
        _attempt(plan, "practise", robot, number, mode="policy", noise=0.0)
        for robot in plan.sound
        for number in range(plan.practice)
    ]


def wave(plan: FlywheelPlan, number: int) -> list[dict[str, Any]]:
    """One wave of a rollout's attempts."""
    return [
        _attempt(plan, "rollout", robot, attempt, mode="policy", noise=0.0)
        for robot in plan.sound
        for attempt in range(sum(plan.waves[:number]), sum(plan.waves[: number + 1]))
    ]


def embodiment_of(robot: str) -> str:
    """The tag that a simulated robot's name begins with."""
    return robot.rpartition("-")[0]


def _attempt(plan: FlywheelPlan, phase: str, robot: str, number: int, *, mode: str, noise: float) -> dict[str, Any]:
    tasks = TASKS[embodiment_of(robot)]
    seed = PHASES[phase] + _SEEDS_PER_ROBOT * plan.robots.index(robot) + number
    return {
        "name": f"{phase}-{number:04d}",
        "robot": robot,
        "task": tasks[number % len(tasks)],
        "seed": seed,
        "mode": mode,
        "noise": noise,
    }
