"""When a person would take the controls of a failing robot: a pure rule, in the robot's own time."""

from volano.embodiment.contract import Embodiment, Family

PATIENCE_S: dict[Family, float] = {"manipulation": 3.5, "navigation": 16.0, "trajectory": 12.0}
"""Seconds that a policy gets. What is left of an arm's 5 s and a mobile base's 24 s suffices the expert in 19 of 20
episodes from their start. A car has 14 s and needs up to 12 s itself, so that there the expert rarely saves one."""


def expert_must_drive(robot: Embodiment, tick: int) -> bool:
    """Whether the attempt, still without success at control tick `tick`, belongs to the expert from here on."""
    return tick >= PATIENCE_S[robot.family] * robot.rate_hz
