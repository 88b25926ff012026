"""LeRobot's words in ours and back, with the bytes of a stock client as the measure."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.inference.protocols.lerobot_frames import (
    KEY,
    SO101,
    TimedAction,
    alias,
    features,
    message,
    messages,
    observation,
    observations,
    pickled,
    raw,
    setup,
    setups,
    unpickled,
)
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, WireError
from volano.inference.protocols.lerobot import Moment, check_setup, read_observation, read_setup
from volano.inference.protocols.lerobot_actions import write_actions
from volano.inference.protocols.protobuf import read_data, read_part, write_data
from volano.inference.session import check_observation

GOLDEN = Path(__file__).parents[3] / "golden" / "lerobot.json"
_MANY = 1 << 20


def golden() -> dict[str, Any]:
    """Bytes of a stock client, by name."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


def test_the_frames_of_these_tests_are_a_stock_clients() -> None:
    made = dict(setups()) | dict(observations())
    for name in ("setup", "observation", "observation, protocol 5"):
        assert base64.b64encode(made[name]).decode() == golden()[name], name


@pytest.mark.parametrize("label", dict(setups()))
def test_a_setup_says_whose_the_client_is_and_what_it_has(label: str) -> None:
    got = read_setup(dict(setups())[label])
    assert (got.robot, got.key, got.task, got.actions_per_chunk) == ("so101-07", KEY, "tidy up", 8)
    assert got.motors == tuple(channel.name for channel in SO101.state)
    assert got.cameras == {"front": (4, 6, 3), "wrist": (2, 2, 3)}
    assert KEY not in repr(got)
    check_setup(SO101, got)


@pytest.mark.parametrize(
    "name",
    [
        "user/model",
        "volano/tidy@stable",
        "volano/tidy@stable?robot=so101-07",
        f"volano/tidy@stable?key={KEY}",
        f"volano/tidy@latest?robot=so101-07&key={KEY}",
        f"volano/tidy?robot=so101-07&key={KEY}",
        f"other/tidy@stable?robot=so101-07&key={KEY}",
        f"volano/tidy@stable?robot=so101-07&key={KEY}&revision=1",
        f"volano/tidy@stable?robot=so101-07&key={KEY * 100}",
        alias() + "x" * 2000,
        "",
        None,
        7,
    ],
)
def test_a_policys_name_that_is_not_our_alias_is_nobodys(name: Any) -> None:
    with pytest.raises(WireError) as caught:
        read_setup(pickled(setup(pretrained_name_or_path=name)))
    assert caught.value.code is Code.WIRE_AUTH
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"actions_per_chunk": 0},
        {"actions_per_chunk": True},
        {"actions_per_chunk": 8.0},
        {"rename_map": {"observation.images.front": "observation.images.ego"}},
        {"rename_map": np.zeros(2)},
        {"rename_map": []},
        {"lerobot_features": []},
        {"lerobot_features": {"observation.state": {"names": [1]}}},
        {"lerobot_features": {"observation.state": None}},
        {"lerobot_features": {"observation.images.front": {"shape": (4, 6)}}},
        {"lerobot_features": {"observation.images.front": {"shape": (4, 6, "3")}}},
        {"lerobot_features": {"action": {"names": ["x"]}}},
    ],
)
def test_a_setup_that_no_client_sends_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read_setup(pickled(setup(**changes)))
    assert caught.value.code is Code.WIRE_FRAME


def _renamed(*names: str) -> dict[str, Any]:
    return {**features(), "observation.state": {"names": list(names)}}


def _sized(camera: str, *shape: int) -> dict[str, Any]:
    return {**features(), f"observation.images.{camera}": {"shape": shape}}


@pytest.mark.parametrize(
    ("changes", "robot", "both"),
    [
        (
            {"lerobot_features": _renamed("shoulder_pan.pos", "gripper.pos")},
            SO101,
            ("['shoulder_pan.pos', 'g", "elbow"),
        ),
        (
            {"lerobot_features": _renamed("gripper.pos", "elbow_flex.pos", "shoulder_pan.pos")},
            SO101,
            ("['gripper.pos'", "['sh"),
        ),
        ({"lerobot_features": _sized("front", 480, 640, 3)}, SO101, ("480, 640", "(4, 6, 3)")),
        ({"lerobot_features": _sized("front", 4, 6, 1)}, SO101, ("(4, 6, 1)", "(4, 6, 3)")),
        ({"lerobot_features": _sized("top", 4, 6, 3)}, SO101, ("'top'", "'wrist'")),
        ({"lerobot_features": {"observation.state": features()["observation.state"]}}, SO101, ("{}", "'front'")),
        ({"actions_per_chunk": 1}, SO101, ("has 1", "2 or more")),
        ({}, replace(SO101, action=SO101.action[::-1]), ("['shoulder_pan.pos'", "['gripper.pos'")),
        ({}, replace(SO101, action_frame="anchored_se2"), ("stand alone", "anchored_se2")),
    ],
)
def test_another_robot_than_the_contracts_is_refused_with_what_both_have(
    changes: dict[str, Any], robot: Embodiment, both: tuple[str, str]
) -> None:
    with pytest.raises(ContractError) as caught:
        check_setup(robot, read_setup(pickled(setup(**changes))))
    assert caught.value.code is Code.CONTRACT_MISMATCH
    assert both[0] in caught.value.cause
    assert both[1] in caught.value.cause


def read(data: bytes, task: str = "tidy up") -> Any:
    observed = read_observation(SO101, data, task, _MANY)
    check_observation(SO101, observed.observation)
    return observed


@pytest.mark.parametrize("label", dict(observations()))
def test_an_observation_is_the_contracts(label: str) -> None:
    observed, sent = read(dict(observations())[label]), raw()
    got = observed.observation
    state = [sent[channel.name] for channel in SO101.state]
    assert got["observation/state"].tolist() == np.array(state, np.float32).tolist()
    for camera in ("front", "wrist"):
        image = sent[camera][..., ::-1] if label == "an image that is a view" and camera == "front" else sent[camera]
        assert got[f"observation/image/{camera}"].tobytes() == image.tobytes()
    assert got["prompt"] == "pick the ball"
    assert observed.reference == Moment(timestamp=1.7e9, timestep=0, must_go=True)


def test_an_observation_without_a_task_has_the_setups() -> None:
    assert read(pickled(observation(observation=raw(task="")))).observation["prompt"] == "tidy up"


def _changed(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (raw() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"observation": _changed(front=None)}, Code.CONTRACT_MISMATCH, "front"),
        ({"observation": _changed(top=raw()["front"])}, Code.CONTRACT_MISMATCH, "top"),
        ({"observation": _changed(front=raw()["front"][:2])}, Code.CONTRACT_MISMATCH, "front"),
        ({"observation": _changed(front=raw()["front"].astype(np.float32))}, Code.CONTRACT_MISMATCH, "front"),
        ({"observation": _changed(front="x")}, Code.CONTRACT_MISMATCH, "front"),
        ({"observation": {**raw(), "gripper.pos": "x"}}, Code.CONTRACT_MISMATCH, "gripper.pos"),
        ({"observation": {**raw(), "gripper.pos": True}}, Code.CONTRACT_MISMATCH, "gripper.pos"),
        ({"observation": {**raw(), "gripper.pos": np.zeros(1)}}, Code.CONTRACT_MISMATCH, "gripper.pos"),
        ({"observation": {"task": "x"}}, Code.CONTRACT_MISMATCH, "shoulder_pan.pos"),
        ({"observation": {**raw(), "gripper.pos": float("nan")}}, Code.WIRE_OBSERVATION, "gripper.pos"),
        ({"observation": {**raw(), "gripper.pos": 1e39}}, Code.WIRE_OBSERVATION, "gripper.pos"),
        ({"observation": _changed(task=7)}, Code.WIRE_OBSERVATION, "prompt"),
        ({"observation": _changed(task=np.zeros(2))}, Code.WIRE_OBSERVATION, "prompt"),
        ({"observation": _changed(volano={"robot": "another"})}, Code.CONTRACT_MISMATCH, "volano"),
        ({"observation": _changed(**{"observation/state": np.zeros(3, np.float32)})}, Code.CONTRACT_MISMATCH, "state"),
        ({"observation": []}, Code.WIRE_FRAME, ""),
        ({"timestep": -1}, Code.WIRE_FRAME, ""),
        ({"timestep": 2**40}, Code.WIRE_FRAME, ""),
        ({"timestep": 1.0}, Code.WIRE_FRAME, ""),
        ({"timestamp": float("inf")}, Code.WIRE_FRAME, ""),
        ({"timestamp": "now"}, Code.WIRE_FRAME, ""),
        ({"must_go": 1}, Code.WIRE_FRAME, ""),
    ],
)
def test_what_is_not_the_contracts_is_refused_by_its_name(changes: dict[str, Any], code: Code, named: str) -> None:
    with pytest.raises((WireError, ContractError)) as caught:
        read(pickled(observation(**changes)))
    assert caught.value.code is code
    assert named in caught.value.cause


def test_one_record_is_not_the_other() -> None:
    with pytest.raises(WireError):
        read(pickled(setup()))
    with pytest.raises(WireError):
        read_setup(pickled(observation()))
    with pytest.raises(WireError, match="more than"):
        read_setup(pickled(setup(device="x" * 70_000)))


def test_actions_arrive_bit_for_bit_from_the_observations_moment_on() -> None:
    chunk = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    chunk[0, 0], chunk[1, 1] = -0.0, np.float32(1e-45)
    got = unpickled(write_actions(chunk, timestamp=1.7e9, timestep=41, step_s=0.05))
    assert all(type(action) is TimedAction for action in got)
    assert [action.timestep for action in got] == list(range(41, 49))
    assert [action.timestamp for action in got] == [1.7e9 + 0.05 * row for row in range(8)]
    assert [action.action.tobytes() for action in got] == [row.tobytes() for row in chunk]
    assert {(action.action.dtype.str, action.action.shape) for action in got} == {("<f4", (3,))}
    got[0].action += 1
    assert got[1].action.tobytes() == chunk[1].tobytes(), "two actions share their numbers"


def test_the_bytes_of_a_chunk_stay_as_they_are() -> None:
    chunk = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = write_actions(chunk, timestamp=1.5, timestep=300, step_s=0.5)
    assert base64.b64encode(data).decode() == golden()["chunk"]


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 1 << 21])
def test_messages_are_protobufs(size: int) -> None:
    data = bytes(size)
    assert write_data(data) == message(data)
    assert read_data(message(data)) == data
    assert read_part(message(data, 2)) == (2, data)


def test_nothing_is_an_empty_message() -> None:
    assert (write_data(b""), read_data(b""), read_part(message(b"", 3))) == (b"", b"", (3, b""))


@pytest.mark.parametrize("label", dict(messages()))
def test_torn_and_foreign_messages_are_refused(label: str) -> None:
    whole = dict(messages())[label]
    read_one = read_data if label == "PolicySetup" else read_part
    for end in range(1, len(whole)):
        if read_one is read_part and end == 2:
            continue  # a part without data
        with pytest.raises(WireError):
            read_one(whole[:end])
    for wrong in (whole + b"\x00", b"\x18" + whole, b"\x0a" + b"\xff" * 9, b"\x08\x07", b"\x08" + b"\x80" * 9):
        with pytest.raises(WireError):
            read_one(wrong)
