"""RoboArena's clients are told exactly what to send, and their sessions are episodes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.inference.protocols.wires import ANSWER, ARM, FRAMES, roboarena
from volano.embodiment.contract import Camera, Embodiment
from volano.errors import Code, ContractError, ServeError, WireError
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.dialect import Observed, Said
from volano.inference.protocols.roboarena import RoboArena
from volano.inference.session import check_observation

WIRE = RoboArena()


def with_cameras(*names: str, sizes: tuple[int, ...] = (4,)) -> Embodiment:
    cameras = [Camera(name=name, height=sizes[number % len(sizes)], width=6) for number, name in enumerate(names)]
    return replace(ARM, cameras=tuple(cameras))


def read(**changes: Any) -> Observed:
    found = WIRE.read(ARM, pack(roboarena(**changes)))
    assert isinstance(found, Observed)
    return found


@pytest.mark.parametrize(
    ("robot", "expected"),
    [
        (ARM, ([4, 6], True, 1, False, True, "joint_position")),
        (with_cameras("exterior_image_0_left", "exterior_image_0_right"), ([4, 6], False, 1, True, True, None)),
        (
            with_cameras("exterior_image_0_left", "exterior_image_1_left", sizes=(4, 5)),
            (None, False, 2, False, True, None),
        ),
        (replace(ARM, action=ARM.action[7:], hold=(0.0,), control_mode="joint velocity"), "joint_velocity"),
        (replace(ARM, action=ARM.action[7:], hold=(0.0,), control_mode="winch"), "winch"),
    ],
)
def test_the_greeting_has_exactly_the_fields_that_the_client_knows(robot: Embodiment, expected: Any) -> None:
    greeting = unpack(WIRE.greet("arm-07", robot))
    fields = ("image_resolution", "needs_wrist_camera", "n_external_cameras", "needs_stereo_camera", "needs_session_id")
    assert set(greeting) == {*fields, "action_space"}
    if isinstance(expected, str):
        assert greeting["action_space"] == expected
    else:
        assert [greeting[name] for name in fields] == list(expected[:5])
        assert greeting["action_space"] == "joint_position"


def test_a_reset_is_a_text_and_a_boundary() -> None:
    assert WIRE.read(ARM, FRAMES["roboarena"]["reset"]()) == Said(reply="reset successful", boundary=True)


@pytest.mark.parametrize(
    ("sent", "session"),
    [("38DSA3hd3", "38DSA3hd3"), (np.array([7]), "7"), (7, "7"), (None, "")],
)
def test_a_session_names_the_episode(sent: object, session: str) -> None:
    assert read(session_id=sent).session == session


def test_what_is_always_sent_is_taken_where_the_contract_has_it_and_nothing_else_is_dropped() -> None:
    check_observation(ARM, read().observation)
    with pytest.raises(ContractError, match="observation/elbow"):
        check_observation(ARM, read(**{"observation/elbow": np.zeros(1)}).observation)
    with pytest.raises(ContractError, match="observation/state"):
        check_observation(ARM, read(**{"observation/joint_position": np.zeros(6)}).observation)


def test_the_answer_is_what_the_client_executes() -> None:
    answer = unpack(WIRE.write(ARM, ANSWER, read()))
    assert answer["actions"].tobytes() == ANSWER.chunk[:2].tobytes()
    assert [name for name, value in answer.items() if isinstance(value, np.ndarray)] == ["actions"]


@pytest.mark.parametrize(
    "changes",
    [{"endpoint": "kill"}, {"endpoint": np.zeros(2)}, {"endpoint": 3}, {"session_id": "x" * 300}, {"session_id": [1]}],
)
def test_other_requests_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read(**changes)
    assert caught.value.code is Code.WIRE_OBSERVATION


def test_a_refusal_ends_the_talk_and_a_hold_does_not() -> None:
    refusal = WIRE.refuse(ContractError(Code.CONTRACT_MISMATCH, "cause", "fix"), None)
    assert (refusal.frame, refusal.ends) == ("E-CONTRACT-001  cause; fix", "E-CONTRACT-001")
    hold = WIRE.refuse(ServeError(Code.SERVE_TIMEOUT, "late", "wait"), None)
    assert (hold.frame, hold.ends) == ("E-SERVE-002  hold: late", "")
    with pytest.raises(WireError):
        WIRE.read(ARM, "reset")
