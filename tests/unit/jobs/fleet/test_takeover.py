"""The rule by which the expert takes a failing attempt over."""

import pytest

from jobs.fleet.takeover import PATIENCE_S, expert_must_drive
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SHIPPED

ROBOTS = pytest.mark.parametrize("robot", SHIPPED.values(), ids=list(SHIPPED))


@ROBOTS
def test_a_policy_has_its_time_and_not_a_tick_more(robot: Embodiment) -> None:
    ticks = round(PATIENCE_S[robot.family] * robot.rate_hz)
    assert not any(expert_must_drive(robot, tick) for tick in range(ticks))
    assert all(expert_must_drive(robot, tick) for tick in range(ticks, 3 * ticks))
