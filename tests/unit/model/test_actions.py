"""Encode and decode are inverse within the quantiles, in both action frames."""

import numpy as np
import pytest

from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import CAR, SCOUT
from volano.errors import ContractError
from volano.model.actions import ActionCodec, chunk_rows

DEGENERATE_LIMIT = 1e-5


def recorded(robot: Embodiment, ticks: int, seed: int = 0) -> np.ndarray:
    """Random recorded actions well within limits."""
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (ticks, len(robot.action))).astype(np.float32)


def fitted(robot: Embodiment, actions: np.ndarray) -> ActionCodec:
    """A codec whose statistics come from these actions."""
    states = np.zeros((len(actions), len(robot.state)), np.float32)
    return ActionCodec.fit(robot, [(actions, states)], horizon=10, channels=6, state_channels=4)


@pytest.mark.parametrize("robot", [SCOUT, CAR])
def test_decode_inverts_encode(robot: Embodiment) -> None:
    actions = recorded(robot, 60)
    codec = fitted(robot, actions)
    target = codec.encode(actions, 5)
    rows = chunk_rows(robot, actions, 5)
    inside = (rows >= codec.action.q01) & (rows <= codec.action.q99)
    decoded = codec.decode(target.values)
    assert decoded.shape == rows.shape
    np.testing.assert_allclose(decoded[inside], rows[inside], atol=DEGENERATE_LIMIT)


def test_rows_past_the_end_and_foreign_channels_are_masked() -> None:
    actions = recorded(SCOUT, 20)
    target = fitted(SCOUT, actions).encode(actions, 17)
    assert target.mask[:3, :2].all()
    assert target.mask.sum() == 6
    assert (target.values[~target.mask] == 0).all()


def test_a_car_predicts_poses_from_the_chunks_first_frame() -> None:
    straight = np.tile(np.array([2.0, 0.0, 0.0], np.float32), (10, 1))
    rows = chunk_rows(CAR, straight, 1)
    np.testing.assert_allclose(rows[:, 0], 2.0 * np.arange(1, 9))
    quarter = np.tile(np.array([1.0, 0.0, np.pi / 2], np.float32), (10, 1))
    np.testing.assert_allclose(chunk_rows(CAR, quarter, 0)[3], [0, 0, 0], atol=1e-6)  # four quarter turns: home


def test_a_robot_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(ContractError, match="E-CONTRACT-001"):
        ActionCodec.fit(
            CAR, [(recorded(CAR, 20), np.zeros((20, 2), np.float32))], horizon=4, channels=6, state_channels=4
        )
