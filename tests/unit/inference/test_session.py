"""Observations are held against the contract field by field, and each belongs to one episode."""

from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER
from volano.errors import Code, ContractError, WireError
from volano.inference.protocols.openpi import MAX_FRAME_BYTES, pack
from volano.inference.session import Place, check_observation, frame_limit, read_request


def observation(**changes: Any) -> dict[str, Any]:
    """The rover's observation, some fields replaced, those that are None removed."""
    fields = {
        "observation/image/ego": np.zeros((64, 64, 3), np.uint8),
        "observation/image/rear": np.zeros((48, 64, 3), np.uint8),
        "observation/state": np.zeros(2, np.float32),
        "prompt": "go to the ball",
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def identity(**changes: Any) -> dict[str, Any]:
    return {
        "robot": "rover-01",
        "embodiment": ROVER.fingerprint,
        "task": "go-to",
        "episode": "attempt-1",
        "tick": 0,
        **changes,
    }


def test_the_contracts_observation_passes_and_fits_its_frame() -> None:
    check_observation(ROVER, observation())
    assert len(pack(observation(volano=identity()))) <= frame_limit(ROVER) <= MAX_FRAME_BYTES


@pytest.mark.parametrize(
    ("changes", "field", "sides"),
    [
        ({"observation/image/ego": None}, "observation/image/ego", ["missing"]),
        ({"observation/image/top": np.zeros(1)}, "observation/image/top", ["observation/image/ego"]),
        (
            {"observation/image/ego": np.zeros((3, 64, 64), np.uint8)},
            "observation/image/ego",
            ["(3, 64", "(64, 64, 3)"],
        ),
        ({"observation/image/ego": np.zeros((64, 64, 3), np.float32)}, "observation/image/ego", ["float32", "uint8"]),
        ({"observation/state": np.zeros(3, np.float32)}, "observation/state", ["(3,)", "(2,)"]),
        ({"observation/state": np.zeros(2, np.float64)}, "observation/state", ["float64", "float32"]),
        ({"observation/state": [0.0, 0.0]}, "observation/state", ["list", "float32"]),
        ({"prompt": None}, "prompt", ["missing"]),
    ],
)
def test_another_contract_is_refused_with_the_field_and_both_sides(
    changes: dict[str, Any], field: str, sides: list[str]
) -> None:
    with pytest.raises(ContractError) as caught:
        check_observation(ROVER, observation(**changes))
    assert caught.value.code is Code.CONTRACT_MISMATCH
    assert repr(field) in caught.value.cause
    assert all(side in caught.value.cause for side in sides)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"observation/state": np.array([0, np.nan], np.float32)}, "yaw_rate"),
        ({"observation/state": np.array([-np.inf, 0], np.float32)}, "speed"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt"),
    ],
)
def test_bad_values_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(WireError) as caught:
        check_observation(ROVER, observation(**changes))
    assert caught.value.code is Code.WIRE_OBSERVATION
    assert named in caught.value.cause


def read(message: dict[str, Any], place: Place | None = None) -> tuple[tuple[str, str, int, bool], Place]:
    request, place = read_request("rover-01", ROVER, "connection-7", place, message)
    return (request.episode, request.task, request.tick, request.new_episode), place


def test_a_stock_clients_episode_is_its_connection() -> None:
    first, place = read(observation())
    second, _ = read(observation(), place)
    assert first == ("connection-7", "go to the ball", 0, True)
    assert second == ("connection-7", "go to the ball", 1, False)


def test_a_named_episode_begins_where_the_robot_says() -> None:
    first, place = read(observation(volano=identity()))
    second, place = read(observation(volano=identity(tick=4)), place)
    third, _ = read(observation(volano=identity(episode="attempt-2")), place)
    assert first == ("attempt-1", "go-to", 0, True)
    assert second == ("attempt-1", "go-to", 4, False)
    assert third == ("attempt-2", "go-to", 0, True)


def test_a_policy_always_sees_who_asks() -> None:
    request, _ = read_request("rover-01", ROVER, "connection-7", None, observation())
    assert request.observation["volano"] == identity(task="go to the ball", episode="connection-7")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"embodiment": "0" * 64}, Code.CONTRACT_MISMATCH),
        ({"robot": "rover-02"}, Code.WIRE_AUTH),
        ({"tick": 4}, Code.WIRE_OBSERVATION),
        ({"tick": -1}, Code.WIRE_OBSERVATION),
        ({"tick": True}, Code.WIRE_OBSERVATION),
        ({"tick": 2.0}, Code.WIRE_OBSERVATION),
        ({"episode": "../attempt"}, Code.WIRE_OBSERVATION),
        ({"episode": ""}, Code.WIRE_OBSERVATION),
        ({"task": ""}, Code.WIRE_OBSERVATION),
        ({"more": 1}, Code.WIRE_OBSERVATION),
    ],
)
def test_a_wrong_identity_is_refused(changes: dict[str, Any], code: Code) -> None:
    _, place = read(observation(volano=identity(tick=5)))
    with pytest.raises((WireError, ContractError)) as caught:
        read(observation(volano=identity(**changes)), place)
    assert caught.value.code is code


def test_identity_does_not_disappear() -> None:
    _, place = read(observation(volano=identity()))
    with pytest.raises(WireError):
        read(observation(), place)
