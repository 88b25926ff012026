"""vla-eval's envelopes: a hello of the same version, explicit episodes, and one row for each observation."""

from typing import Any, Literal

import numpy as np
import pytest

from tests.unit.inference.protocols.wires import ANSWER, ARM, FRAMES, OUTSIDE, STATE, envelope, picture, vlaeval
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.dialect import Observed, Said
from volano.inference.protocols.spellings import VLA_EVAL, Picture
from volano.inference.protocols.vlaeval import VlaEval
from volano.inference.session import check_observation

WIRE = VlaEval()


def read(message: dict[str, Any]) -> Observed | Said:
    return WIRE.read(ARM, pack(message, VLA_EVAL))


def observed(**changes: Any) -> Observed:
    found = read(vlaeval(**changes))
    assert isinstance(found, Observed)
    return found


def test_the_client_speaks_first() -> None:
    WIRE.greet("arm-07", ARM)
    found = read(envelope({"harness_version": "0.8.0", "protocol_version": 1, "benchmark": "x"}, "hello", 3))
    assert isinstance(found, Said)
    assert isinstance(found.reply, bytes)
    hello = unpack(found.reply)
    assert (hello["type"], hello["seq"], hello["payload"]["protocol_version"]) == ("hello", 3, 1)
    assert hello["payload"]["embodiment"] == ARM.fingerprint


@pytest.mark.parametrize("version", [2, "1", None, True, np.zeros(2)])
def test_another_version_is_refused_before_anything_else(version: object) -> None:
    with pytest.raises(WireError, match="protocol"):
        read(envelope({"protocol_version": version}, "hello"))


@pytest.mark.parametrize(("kind", "boundary"), [("episode_start", True), ("episode_end", True), ("error", False)])
def test_episodes_begin_and_end_where_it_says(kind: str, boundary: bool) -> None:
    assert read(envelope({"task": {"name": "x"}}, kind)) == Said(reply=None, boundary=boundary)


def test_an_answer_is_one_row_with_the_number_and_time_of_its_question() -> None:
    frame = WIRE.write(ARM, ANSWER, observed())
    answer = unpack(frame)
    assert (answer["type"], answer["seq"], answer["timestamp"]) == ("action", 7, 1.5)
    assert answer["payload"]["actions"].tobytes() == ANSWER.chunk[0].tobytes()
    assert b"__ndarray__" in frame


@pytest.mark.parametrize("coding", ["png", "jpeg"])
def test_an_image_file_stays_closed(coding: Literal["png", "jpeg"]) -> None:
    images = {"exterior_image_0_left": picture(OUTSIDE, coding), "wrist_image_left": OUTSIDE}
    image = observed(images=images).observation["observation/image/exterior_image_0_left"]
    assert isinstance(image, Picture)
    assert image.coding == coding


def test_raw_images_are_arrays() -> None:
    raw = {"__image__": True, "format": "raw", "data": OUTSIDE.tobytes(), "dtype": "|u1", "shape": [4, 6, 3]}
    found = observed(images={"exterior_image_0_left": raw, "wrist_image_left": OUTSIDE})
    check_observation(ARM, found.observation)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": {"agentview": OUTSIDE, "wrist_image_left": OUTSIDE}}, "exterior_image_0_left"),
        ({"state": STATE}, "state"),
        ({"depth": OUTSIDE}, "depth"),
        ({"states": {"elbow": STATE}}, "observation/state"),
    ],
)
def test_another_contract_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ContractError, match=named):
        check_observation(ARM, observed(**changes).observation)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "observation"},
        envelope({}, "action"),
        envelope({}, "kill"),
        envelope({}) | {"seq": 1.5},
        envelope({}) | {"seq": True},
        envelope({}) | {"timestamp": "now"},
        envelope({}) | {"type": np.zeros(2)},
        envelope({}) | {"payload": [1]},
        envelope({}) | {"more": 1},
    ],
)
def test_other_envelopes_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read(message)
    assert caught.value.code is Code.WIRE_FRAME


@pytest.mark.parametrize(
    ("error", "said", "ends"),
    [
        (ServeError(Code.SERVE_TIMEOUT, "late", "wait"), "E-SERVE-002  hold: late", ""),
        (ContractError(Code.CONTRACT_MISMATCH, "cause", "fix"), "E-CONTRACT-001  cause; fix", ""),
        (WireError(Code.WIRE_AUTH, "cause", "fix"), "E-WIRE-002  cause; fix", "E-WIRE-002"),
    ],
)
def test_a_refusal_is_an_error_of_its_question(error: VolanoError, said: str, ends: str) -> None:
    reply = WIRE.refuse(error, observed())
    assert isinstance(reply.frame, bytes)
    found = unpack(reply.frame)
    assert (found["type"], found["seq"], found["payload"]["error"], reply.ends) == ("error", 7, said, ends)


def test_every_frame_of_the_clients_is_read() -> None:
    assert all(WIRE.read(ARM, frame()) for frame in FRAMES["vlaeval"].values())
