"""Observations are held against the contract field by field, and each belongs to one episode."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER
from volano.errors import Code, ContractError, WireError
from volano.inference.protocols.arrays import MAX_FRAME_BYTES, pack, unpack
from volano.inference.session import IDLE_GAP_S, Place, check_observation, frame_limit, read_request


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
    ("changes", "fix"),
    [
        (
            {"observation/image/rear": None, "observation/raer": np.zeros((48, 64, 3), np.uint8)},
            "rename 'observation/raer' to 'observation/image/rear'",
        ),
        ({"observation/image/rear": None}, "send 'observation/image/rear'"),
        ({"images/rear": np.zeros(1)}, "leave out 'images/rear': 'observation/image/rear' is there as well"),
        ({"observation/image/rear": np.zeros((64, 48, 3), np.uint8)}, "swap height and width"),
        ({"observation/image/rear": np.zeros((64, 64, 3), np.uint8)}, "it has the size of camera 'ego'"),
        ({"observation/state": np.array([0, 120], np.float32)}, "send rad/s: these look like degrees"),
    ],
)
def test_a_refusal_says_what_to_do(changes: dict[str, Any], fix: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_observation(ROVER, observation(**changes))
    assert fix in caught.value.fix


def test_names_from_outside_are_shown_short_and_printable() -> None:
    many = {f"camera\x1b[2J{number}": 0 for number in range(500)}
    with pytest.raises(ContractError) as caught:
        check_observation(ROVER, many | {"x" * 10_000: 1})
    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) + len(caught.value.fix) < 600


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


def read(
    message: dict[str, Any], place: Place | None = None, *, now: float = 0.0, boundary: bool = False
) -> tuple[tuple[str, str, int, bool], Place]:
    request, place = read_request("rover-01", ROVER, "connection-7", place, message, now=now, boundary=boundary)
    return (request.episode, request.task, request.tick, request.new_episode), place


def test_a_stock_clients_episode_lasts_while_nothing_says_otherwise() -> None:
    first, place = read(observation())
    second, place = read(observation(), place, now=IDLE_GAP_S)
    assert first == ("connection-7-0", "go to the ball", 0, True)
    assert second == ("connection-7-0", "go to the ball", 1, False)


@pytest.mark.parametrize(
    ("changes", "now", "boundary"),
    [({"prompt": "go home"}, 0.0, False), ({}, IDLE_GAP_S + 1, False), ({}, 0.0, True)],
)
def test_another_prompt_a_long_silence_or_a_word_begin_an_episode(
    changes: dict[str, Any], now: float, boundary: bool
) -> None:
    _, place = read(observation())
    after, place = read(observation(**changes), place, now=now, boundary=boundary)
    assert after == ("connection-7-1", changes.get("prompt", "go to the ball"), 0, True)
    assert read(observation(**changes), place, now=now)[0] == ("connection-7-1", after[1], 1, False)


def test_a_named_episode_begins_where_the_robot_says() -> None:
    first, place = read(observation(volano=identity()))
    second, place = read(observation(volano=identity(tick=4)), place)
    third, _ = read(observation(volano=identity(episode="attempt-2")), place)
    assert first == ("attempt-1", "go-to", 0, True)
    assert second == ("attempt-1", "go-to", 4, False)
    assert third == ("attempt-2", "go-to", 0, True)


def test_a_policy_always_sees_who_asks() -> None:
    request, _ = read_request("rover-01", ROVER, "connection-7", None, observation(), now=0.0)
    assert request.observation["volano"] == identity(task="go to the ball", episode="connection-7-0")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"embodiment": "0" * 64}, Code.CONTRACT_MISMATCH),
        ({"embodiment": np.zeros(2)}, Code.CONTRACT_MISMATCH),
        ({"robot": "rover-02"}, Code.WIRE_AUTH),
        ({"robot": np.zeros(2)}, Code.WIRE_AUTH),
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


GOLDEN = Path(__file__).parents[2] / "golden" / "prefix.json"


def prefix(rows: int = 4, delay: Any = 2, **changes: Any) -> dict[str, Any]:
    actions = np.linspace(-0.5, 0.5, 2 * rows, dtype=np.float32).reshape(rows, 2)
    return {"actions": actions, "delay": delay, **changes}


def test_what_is_executed_meanwhile_reaches_the_policy() -> None:
    sent = prefix()
    request, _ = read_request(
        "rover-01", ROVER, "connection-7", None, observation(volano=identity(prefix=sent)), now=0.0
    )
    passed = request.observation["volano"]["prefix"]
    assert passed["delay"] == 2
    assert passed["actions"].tobytes() == sent["actions"].tobytes()
    again, _ = read_request("rover-01", ROVER, "connection-7", None, observation(volano=identity()), now=0.0)
    assert "prefix" not in again.observation["volano"]


def test_what_is_executed_is_within_the_limits_whatever_was_sent() -> None:
    sent = prefix(actions=np.full((4, 2), 3e38, np.float32))
    request, _ = read_request(
        "rover-01", ROVER, "connection-7", None, observation(volano=identity(prefix=sent)), now=0.0
    )
    np.testing.assert_array_equal(request.observation["volano"]["prefix"]["actions"], [[1.0, 2.0]] * 4)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        {},
        {"actions": np.zeros((4, 2), np.float32)},
        prefix(more=1),
        prefix(actions=[[0.0, 0.0]]),
        prefix(actions=np.float32(0)),
        prefix(actions=np.zeros((), np.float32)),
        prefix(actions=np.zeros(4, np.float32)),
        prefix(actions=np.zeros((4, 3), np.float32)),
        prefix(actions=np.zeros((4, 2, 1), np.float32)),
        prefix(actions=np.zeros((4, 2), np.float64)),
        prefix(actions=np.full((4, 2), np.nan, np.float32)),
        prefix(actions=np.full((4, 2), np.inf, np.float32)),
        prefix(rows=0, delay=0),
        prefix(rows=9, delay=0),
        prefix(rows=7, delay=2),
        prefix(rows=4, delay=5),
        prefix(rows=2, delay=3),
        prefix(delay=-1),
        prefix(delay=True),
        prefix(delay=2.0),
        prefix(delay=1 << 60),
        prefix(delay="2"),
        prefix(delay=np.int64(2)),
    ],
)
def test_a_wrong_prefix_is_refused_by_name(sent: Any) -> None:
    with pytest.raises(WireError) as caught:
        read(observation(volano=identity(prefix=sent)))
    assert caught.value.code is Code.WIRE_OBSERVATION
    assert "'volano.prefix" in caught.value.cause
    assert len(caught.value.cause) < 200


def test_the_longest_prefix_fits_its_frame() -> None:
    wide = replace(ROVER, horizon=40_000)
    message = observation(
        volano=identity(embodiment=wide.fingerprint, prefix=prefix(actions=np.zeros((39_999, 2), np.float32), delay=1))
    )
    assert len(pack(message)) <= frame_limit(wide)
    read_request("rover-01", wide, "connection-7", None, message, now=0.0)


def test_a_prefix_is_written_as_it_always_was() -> None:
    """`python -m tests.unit.inference.test_session` writes the file anew."""
    golden = bytes.fromhex(json.loads(GOLDEN.read_text())["frame"])
    assert pack({"volano": identity(prefix=prefix())}) == golden
    found = unpack(golden)["volano"]["prefix"]
    assert found["actions"].tobytes() == prefix()["actions"].tobytes()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"frame": pack({"volano": identity(prefix=prefix())}).hex()}, indent=1) + "\n")
