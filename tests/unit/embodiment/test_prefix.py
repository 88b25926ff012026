"""How far questions may be apart, and the same rows seen from any tick."""

import numpy as np
import pytest

from volano.embodiment.prefix import fits, longest_delay, stride, to_chunk, to_steps
from volano.embodiment.shipped import CAR, SCOUT, SHIPPED


@pytest.mark.parametrize("tag", SHIPPED)
def test_questions_are_so_far_apart_that_every_tick_has_a_row(tag: str) -> None:
    robot = SHIPPED[tag]
    for delay in range(longest_delay(robot) + 1):
        assert delay <= stride(robot, delay) <= robot.horizon - delay
        assert fits(robot, robot.horizon - stride(robot, delay), delay)
    assert not fits(robot, robot.horizon - longest_delay(robot), longest_delay(robot) + 1)
    assert not fits(robot, 0, 0)
    assert not fits(robot, 3, -1)


def test_a_path_is_the_same_seen_from_any_tick() -> None:
    steps = np.random.default_rng(0).uniform(-0.5, 0.5, (8, 3)).astype(np.float32)
    np.testing.assert_allclose(to_steps(CAR, to_chunk(CAR, steps)), steps, atol=1e-6)
    assert to_steps(SCOUT, steps[:, :2]).tobytes() == steps[:, :2].tobytes()
