"""A stock client's names are found again in the contract; what is not recognised stays, to be refused by its name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER
from volano.embodiment.contract import Camera, Channel
from volano.errors import ContractError
from volano.inference.layout import arrange, groups
from volano.inference.session import check_observation

NAMES = (*(f"joint_position.{number}" for number in range(3)), "gripper_position")
ARM = replace(
    ROVER,
    cameras=(Camera(name="exterior_image_1_left", height=6, width=8), Camera(name="wrist", height=4, width=4)),
    state=tuple(Channel(name=name, unit="rad", low=-4, high=4) for name in NAMES),
)
OUTSIDE = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
WRIST = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
CANONICAL = {
    "observation/image/exterior_image_1_left": OUTSIDE,
    "observation/image/wrist": WRIST,
    "observation/state": np.array([1, 2, 3, 0.5], np.float32),
    "prompt": "pick",
}


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        type(found[key]) is type(value) and np.array_equal(found[key], value) for key, value in expected.items()
    )


@pytest.mark.parametrize(
    "sent",
    [
        CANONICAL,
        {  # DROID
            "observation/exterior_image_1_left": OUTSIDE,
            "observation/wrist": WRIST,
            "observation/joint_position": np.array([1.0, 2.0, 3.0]),
            "observation/gripper_position": np.array([0.5]),
            "prompt": "pick",
        },
        {  # ALOHA
            "state": np.array([1, 2, 3, 0.5]),
            "images": {"exterior_image_1_left": OUTSIDE.transpose(2, 0, 1), "wrist": WRIST},
            "prompt": "pick",
        },
    ],
)
def test_every_spelling_is_one_observation(sent: dict[str, Any]) -> None:
    arranged = arrange(ARM, sent)
    assert same(arranged, CANONICAL)
    check_observation(ARM, arranged)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"observation/joint_position": np.zeros(4), "observation/gripper_position": np.zeros(0)}, "state"),
        ({"observation/joint_position": np.zeros(3)}, "state"),
        ({"observation/joint_position": np.zeros(3, int), "observation/gripper_position": np.zeros(1)}, "state"),
        ({"observation/state": np.zeros(4), "observation/elbow": np.zeros(4)}, "observation/elbow"),
        ({"observation/state": np.zeros(4), "observation/wrist": WRIST[:3]}, "observation/image/wrist"),
        ({"observation/state": np.zeros(4), "images/wrist": WRIST}, "images/wrist"),
        ({"observation/state": np.zeros(4), "images": {"wrist": WRIST}, "images/wrist": WRIST}, "images/wrist"),
        ({"observation/joint_position": [[0.0], [1.0, 2.0]], "observation/gripper_position": np.zeros(1)}, "state"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    sent = {"observation/exterior_image_1_left": OUTSIDE, "observation/wrist": WRIST, "prompt": "pick", **changes}
    with pytest.raises(ContractError, match=named):
        check_observation(ARM, arrange(ARM, sent))


def test_a_camera_that_is_sent_twice_is_refused_whichever_comes_first() -> None:
    sent = {"images/wrist": WRIST, **CANONICAL, "observation/image/wrist": WRIST + 1}
    with pytest.raises(ContractError, match="twice"):
        check_observation(ARM, arrange(ARM, sent))


def test_groups_are_runs_of_channels() -> None:
    channels = [Channel(name=name, unit="1", low=0, high=1) for name in ("arm.0", "arm.1", "grip", "arm.2")]
    assert groups(tuple(channels)) == {"arm": slice(0, 2), "grip": slice(2, 3), "arm.2": slice(3, 4)}
