"""A refusal names the likeliest mistake, and names none that is not there."""

import numpy as np
import pytest

from volano.embodiment.contract import Channel
from volano.inference.advice import correct_image, correct_state, other_unit, rename

CHANNELS = (
    Channel(name="elbow", unit="rad", low=-3.2, high=3.2),
    Channel(name="lift", unit="m", low=0.0, high=1.0),
    Channel(name="speed", unit="rad/s", low=-2.0, high=2.0),
    Channel(name="grip", unit="1", low=0.0, high=1.0),
)


@pytest.mark.parametrize(
    ("field", "others", "found"),
    [
        ("observation/image/wrist", ["images/wirst", "images/top"], "images/wirst"),
        ("observation/image/wrist_left", ["observation/wrist_image_left"], "observation/wrist_image_left"),
        ("observation/image/ego", ["observation/image/top"], None),
        ("observation/image/ego", [], None),
    ],
)
def test_a_name_is_compared_without_what_stands_before_it(field: str, others: list[str], found: str | None) -> None:
    assert rename(field, others) == found


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((3, 48, 64), np.uint8), "channels to the end"),
        (np.zeros((64, 48, 3), np.uint8), "swap height and width"),
        (np.zeros((1, 48, 64, 3), np.uint8), "axis"),
        (np.zeros((48, 64), np.uint8), "three channels"),
        (np.zeros((48, 64, 4), np.uint8), "fourth channel"),
        (np.zeros((32, 32, 3), np.uint8), "camera 'ego'"),
        (np.zeros((96, 128, 3), np.uint8), "resize it to 48 x 64"),
        (np.full((48, 64, 3), 0.5, np.float32), "multiply by 255"),
        (np.linspace(-1, 1, 9216, dtype=np.float64).reshape(48, 64, 3), "add 1"),
        (np.full((48, 64, 3), 200, np.float32), "round"),
        (np.full((48, 64, 3), np.nan, np.float32), "round"),
        (np.zeros((48, 64, 3), np.int32), "send uint8"),
        ([1, 2], "array"),
    ],
)
def test_an_image(image: object, word: str) -> None:
    assert word in correct_image(image, 48, 64, {"ego": (32, 32), "rear": (48, 64)})


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (np.zeros(4), "float32"),
        (np.zeros((1, 4), np.float32), "axis"),
        (np.zeros(3, np.float32), "4 values: elbow, lift, speed, grip"),
        (None, "4 values"),
    ],
)
def test_a_state(state: object, word: str) -> None:
    assert word in correct_state(state, CHANNELS)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([90, 0, 0, 0], (0, "degrees")),
        ([0, 450, 0, 0], (1, "millimetres")),
        ([0, 0, -100, 0], (2, "degrees")),
        ([3.3, 1.5, 2.5, 0], None),
        ([0, 0, 0, 1000], None),
        ([1e9, 0, 0, 0], None),
        ([0, -450, 0, 0], None),
    ],
)
def test_values_of_another_unit_are_far_beyond_their_limits_and_within_them_in_it(
    values: list[float], found: tuple[int, str] | None
) -> None:
    assert other_unit(CHANNELS, np.array(values, np.float32)) == found
