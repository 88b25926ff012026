"""Encode and decode are inverse within the quantiles, in both action frames."""

from dataclasses import replace

import numpy as np
import pytest

from volano.data.normalize import Quantiles
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import CAR, SCOUT
from volano.errors import ContractError
from volano.inference.guard import check_chunk
from volano.model.actions import ActionCodec, chunk_rows
from volano.model.config import PathFrame

DEGENERATE_LIMIT = 1e-5


def recorded(robot: Embodiment, ticks: int, seed: int = 0) -> np.ndarray:
    """Random recorded actions well within limits."""
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (ticks, len(robot.action))).astype(np.float32)


def fitted(robot: Embodiment, actions: np.ndarray, path_frame: PathFrame = "step") -> ActionCodec:
    """A codec whose statistics come from these actions."""
    states = np.zeros((len(actions), len(robot.state)), np.float32)
    return ActionCodec.fit(robot, [(actions, states)], horizon=10, channels=6, state_channels=4, path_frame=path_frame)


def test_decode_inverts_encode() -> None:
    actions = recorded(SCOUT, 60)
    codec = fitted(SCOUT, actions)
    target = codec.encode(actions, 5)
    rows = chunk_rows(SCOUT, actions, 5)
    inside = (rows >= codec.action.q01) & (rows <= codec.action.q99)
    decoded = codec.decode(target.values)
    assert decoded.shape == rows.shape
    np.testing.assert_allclose(decoded[inside], rows[inside], atol=DEGENERATE_LIMIT)


def test_a_car_learns_motions_and_answers_the_path_they_make() -> None:
    actions = recorded(CAR, 60)
    codec = fitted(CAR, np.vstack([actions, 2 * actions]))  # nothing of `actions` is outside the quantiles
    target = codec.encode(actions, 5)
    np.testing.assert_allclose(codec.action.denormalize(target.values[:8, :3]), actions[5:13], atol=DEGENERATE_LIMIT)
    np.testing.assert_allclose(codec.decode(target.values), chunk_rows(CAR, actions, 5), atol=1e-4)


def test_a_car_may_learn_poses_instead() -> None:
    actions = recorded(CAR, 60)
    codec = fitted(CAR, np.vstack([actions, 2 * actions]), "anchored")
    target, path = codec.encode(actions, 5), chunk_rows(CAR, actions, 5)
    np.testing.assert_allclose(codec.action.denormalize(target.values[:8, :3]), path, atol=DEGENERATE_LIMIT)
    np.testing.assert_allclose(codec.decode(target.values), path, atol=1e-4)
    wild = codec.decode(np.full((10, 6), 5, np.float32))
    assert check_chunk(CAR, wild) == pytest.approx(wild, abs=1e-4)


def test_a_state_has_256_bins_between_its_quantiles() -> None:
    codec = replace(fitted(SCOUT, recorded(SCOUT, 20)), state=Quantiles(q01=(-1.0,) * 3, q99=(3.0,) * 3))
    states = ([-1, 1, 3], [-9, 0.999, 9], [-1 + 4 / 256, 3 - 4 / 256, 3 - 4.1 / 256])
    bins = [codec.state_bins(np.array(state, np.float32)) for state in states]
    assert bins == [(0, 128, 255), (0, 127, 255), (1, 255, 254)]


def test_a_wild_answer_is_limited_tick_by_tick() -> None:
    codec = fitted(CAR, recorded(CAR, 60) * 1000)
    chunk = codec.decode(np.full((10, 6), 5, np.float32))
    assert check_chunk(CAR, chunk) == pytest.approx(chunk, abs=1e-4)
    assert chunk[0] == pytest.approx([4, 3, 1.5])


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
