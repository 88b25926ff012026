"""Planar motions: the inverse pairs that recorder and codec rely on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volano.embodiment.frames import compose, differences, place, relative, wrap

_DELTAS = arrays(np.float64, st.tuples(st.integers(0, 12), st.just(3)), elements=st.floats(-3, 3))
_POSE = arrays(np.float64, 3, elements=st.floats(-3, 3))


def _same(left: np.ndarray, right: np.ndarray) -> None:
    assert left.shape == right.shape
    np.testing.assert_allclose(left[..., :2], right[..., :2], atol=1e-9)
    turns = (left[..., 2] - right[..., 2]) / (2 * math.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)


def test_four_quarter_turns_close_a_square() -> None:
    poses = compose(np.array([[1.0, 0.0, math.pi / 2]] * 4))
    _same(poses, np.array([[1, 0, math.pi / 2], [1, 1, math.pi], [0, 1, -math.pi / 2], [0, 0, 0]]))


def test_a_sideways_step_after_a_left_turn_goes_back() -> None:
    _same(compose(np.array([[0, 0, math.pi / 2], [0, 1.0, 0]]))[1], np.array([-1, 0, math.pi / 2]))


@given(_DELTAS)
def test_differences_undo_compose(deltas: np.ndarray) -> None:
    _same(differences(compose(deltas)), deltas)


@given(_DELTAS)
def test_compose_undoes_differences(poses: np.ndarray) -> None:
    _same(compose(differences(poses)), poses)


@given(_POSE, _POSE)
def test_place_undoes_relative(start: np.ndarray, end: np.ndarray) -> None:
    _same(place(start, relative(start, end)[None])[0], end)


@pytest.mark.parametrize(
    ("angle", "expected"), [(0, 0), (math.pi, math.pi), (-math.pi, math.pi), (3 * math.pi / 2, -math.pi / 2)]
)
def test_wrap(angle: float, expected: float) -> None:
    assert wrap(angle) == pytest.approx(expected)
