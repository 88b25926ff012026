"""When a person would take the controls of a failing robot: a pure rule, in the robot's own time."""

from volano.embodiment.contract import Embodiment, Family

PATIENCE_S: dict[Family, float] = {"manipulation": 2.5, "navigation": 12.0, "trajectory": 7.0}
"""Seconds that a policy gets: half of an attempt's time limit, so that the expert can still finish."""


def expert_must_drive(robot: Embodiment, tick: int) -> bool:
    """Whether the attempt, still without success at control tick `tick`, belongs to the expert from here on."""
    return tick >= PATIENCE_S[robot.family] * robot.rate_hz
