"""starVLA's frames hold one example of one robot, and each refusal finds its request again."""

from typing import Any

import numpy as np
import pytest

from tests.unit.inference.protocols.wires import ANSWER, ARM, OUTSIDE, WRIST, example, starvla
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.dialect import Observed, Said
from volano.inference.protocols.starvla import StarVla
from volano.inference.session import check_observation

WIRE = StarVla()


def read(message: dict[str, Any]) -> Observed:
    found = WIRE.read(ARM, pack(message))
    assert isinstance(found, Observed)
    return found


def refused(error: VolanoError, observed: Observed | None) -> tuple[dict[str, Any], str]:
    reply = WIRE.refuse(error, observed)
    assert isinstance(reply.frame, bytes)
    return unpack(reply.frame), reply.ends


def test_the_greeting_says_what_its_clients_look_for() -> None:
    greeting = unpack(WIRE.greet("arm-07", ARM))
    assert greeting["action_chunk_size"] == ARM.execute
    assert (greeting["available_unnorm_keys"], greeting["default_unnorm_key"]) == (["arm"], "arm")
    assert greeting["training_obs_image_size"] == [4, 6]
    assert greeting["action_keys"] == greeting["state_keys"] == ["joint_position", "gripper_position"]


@pytest.mark.parametrize("request_id", ["request-7", 7, None])
def test_a_ping_is_answered(request_id: object) -> None:
    found = WIRE.read(ARM, pack({"type": "ping"} | ({} if request_id is None else {"request_id": request_id})))
    assert isinstance(found, Said)
    assert isinstance(found.reply, bytes)
    expected = {"status": "ok", "ok": True, "type": "ping", "request_id": request_id or "default"}
    assert (unpack(found.reply), found.boundary) == (expected, False)


@pytest.mark.parametrize("kind", ["infer", "predict_action"])
def test_an_answer_has_an_axis_for_examples_and_the_rows_that_are_executed(kind: str) -> None:
    answer = unpack(WIRE.write(ARM, ANSWER, read({"type": kind, "request_id": 9, "payload": starvla()})))
    assert (answer["status"], answer["ok"], answer["request_id"]) == ("ok", True, 9)
    actions = answer["data"]["actions"]
    assert (actions.shape, actions.tobytes()) == ((1, 2, 8), ANSWER.chunk[:2].tobytes())


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (starvla(example(), example()), "sent 2: one connection is one robot"),
        (starvla() | {"examples": []}, "sent 0"),
        (starvla() | {"examples": {"image": OUTSIDE}}, "examples"),
        (starvla() | {"unnorm_key": "franka"}, "'franka', its contract is 'arm'"),
        (starvla() | {"unnorm_key": np.zeros(2)}, "unnorm_key"),
        (starvla() | {"type": "reset"}, "type"),
        (starvla() | {"type": np.zeros(2)}, "type"),
        ({"payload": "text"}, "payload"),
    ],
)
def test_what_is_not_one_example_is_a_problem_of_its_request_and_the_socket_stays(
    message: dict[str, Any], named: str
) -> None:
    found = read({"request_id": "request-8", **message})
    assert isinstance(found.problem, WireError)
    said, ends = refused(found.problem, found)
    assert (said["status"], said["ok"], said["request_id"], ends) == ("error", False, "request-8", "")
    assert said["error"]["code"] == "E-WIRE-003"
    assert named in said["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image": [OUTSIDE]}, "wrist_image_left"),
        ({"image": [OUTSIDE, WRIST, WRIST]}, "image[2]"),
        ({"state": None}, "state"),
        ({"state": np.zeros(7, np.float32)}, "gripper_position"),
        ({"depth": OUTSIDE}, "depth"),
    ],
)
def test_another_contract_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    found = read(starvla(example(**changes)))
    with pytest.raises(ContractError) as caught:
        check_observation(ARM, found.observation)
    said, ends = refused(caught.value, found)
    assert named in said["error"]["message"]
    assert ends == ""


def test_one_image_needs_no_list() -> None:
    found = read(starvla(example(image=OUTSIDE)))
    assert np.array_equal(found.observation["observation/image/exterior_image_0_left"], OUTSIDE)


def test_a_hold_is_said_as_such_and_a_client_that_is_not_understood_is_left() -> None:
    said, ends = refused(ServeError(Code.SERVE_TIMEOUT, "late", "wait"), read(starvla()))
    assert (said["error"]["message"], ends) == ("E-SERVE-002  hold: late", "")
    for code in (Code.WIRE_FRAME, Code.WIRE_LIMIT, Code.WIRE_AUTH):
        assert refused(WireError(code, "cause", "fix"), None)[1] == code
    for message in ({"request_id": [1]}, {"request_id": "x" * 300}, {"request_id": True}):
        with pytest.raises(WireError, match="request_id"):
            WIRE.read(ARM, pack(message))
