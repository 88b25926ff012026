"""What a simulated fleet is asked to do, as data: attempts by name, and which robots misbehave how.

The plan names every attempt, so that a fleet that was killed knows by looking at its folders what is left to do.
Plain data in, frozen records out; nothing here touches a simulator, a network or a store.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import shipped
from volano.errors import Code, ConfigError

Mode = Literal["expert", "policy"]
Defect = Literal["truncate", "nan", "resend"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One episode that one robot is to drive."""

    name: str
    """Unique for the robot; a plain name."""
    robot: str
    task: str
    seed: int
    mode: Mode
    """`expert`: the scripted expert teleoperates all of it. `policy`: the served policy acts, the expert stands by."""
    noise: float
    """Disturbance of the expert's motions, never of what is recorded; 0 is none."""


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """Everything a fleet is to do."""

    attempts: tuple[Attempt, ...]
    misbehave: dict[str, Defect]
    """Robot to what is wrong with it."""

    @property
    def robots(self) -> tuple[str, ...]:
        """Robots with an attempt, in the order in which the plan names them and they start."""
        return tuple(dict.fromkeys(attempt.robot for attempt in self.attempts))

    def of_robot(self, robot: str) -> tuple[Attempt, ...]:
        """One robot's attempts in the plan's order."""
        return tuple(attempt for attempt in self.attempts if attempt.robot == robot)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from plain data; raises ConfigError(E-CONFIG-003), or ContractError for an unknown embodiment."""
        try:
            plan = cls(**_parse(data))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(Code.CONFIG_VALUE, f"not a fleet's plan: {error}", "correct the plan") from error
        for robot in plan.robots:
            embodiment_of(robot)
        return plan


def read_plan(path: Path) -> FleetPlan:
    """The plan in a JSON file; raises like `FleetPlan.from_json`."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(Code.CONFIG_VALUE, f"{path} is not a readable plan: {error}", "name a JSON file") from error
    return FleetPlan.from_json(data)


def embodiment_of(robot: str) -> Embodiment:
    """A simulated robot is called `<embodiment>-<number>`."""
    return shipped(robot.rpartition("-")[0])


def _parse(data: Any) -> dict[str, Any]:
    attempts = tuple(Attempt(**{**attempt, "noise": float(attempt["noise"])}) for attempt in data["attempts"])
    for attempt in attempts:
        if attempt.mode not in get_args(Mode) or type(attempt.seed) is not int:
            raise ValueError(
                f"attempt {attempt.name!r} of {attempt.robot!r} has mode {attempt.mode!r}, seed {attempt.seed!r}"
            )
    names = Counter((attempt.robot, attempt.name) for attempt in attempts)
    if repeated := [name for name, number in names.items() if number > 1]:
        raise ValueError(f"attempt {repeated[0]} stands there twice")
    misbehave = cast("dict[str, Defect]", dict(data.get("misbehave", {})))
    if unknown := set(misbehave.values()) - set(get_args(Defect)):
        raise ValueError(f"no robot can misbehave by {sorted(unknown)[0]!r}")
    return {"attempts": attempts, "misbehave": misbehave}
