"""GR00T's wire: each generation's frames become one observation, and its answer has its own form, byte for byte."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import ROVER
from tests.unit.inference.protocols.gr00t_frames import (
    ARM,
    LANGUAGE,
    arrays,
    asking,
    flat,
    frames,
    nested,
    npy,
    numpy_map,
)
from volano.embodiment.contract import Camera
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.dialect import Answer, Observed, Said
from volano.inference.protocols.gr00t import UNAUTHORIZED, Gr00t, token_of
from volano.inference.session import check_observation, frame_limit

DIALECT = Gr00t()
CHUNK = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
GOLDEN = Path(__file__).parents[3] / "golden" / "gr00t.json"
SMALL = replace(ARM, cameras=tuple(Camera(name=name, height=2, width=2) for name in ("ego", "rear")))
ANSWER = Answer(
    chunk=CHUNK,
    policy="ab" * 32,
    request="request-1",
    rollout="rollout-1",
    arm="canary",
    read_ms=0.5,
    route_ms=0.25,
    infer_ms=1.5,
)
SMALL_ANSWER = replace(ANSWER, chunk=np.array([[0.5, -0.5, 1.0], [0.25, 0.0, -1.0]], np.float32))


def observed(frame: bytes) -> Observed:
    heard = DIALECT.read(ARM, frame)
    assert isinstance(heard, Observed)
    return heard


def said(frame: bytes, dialect: Gr00t = DIALECT) -> Any:
    """What needs no policy, unpacked."""
    heard = dialect.read(ARM, frame)
    assert isinstance(heard, Said)
    assert isinstance(heard.reply, bytes)
    return msgpack.unpackb(heard.reply)


@pytest.mark.parametrize("name", ["N1.5", "N1.5 of columns", "N1.6", "N1.6, flat", "N1.7"])
def test_every_generation_is_one_observation(name: str) -> None:
    observation = observed(dict(frames())[name]).observation
    check_observation(ARM, observation)
    ego, rear, state = arrays()
    np.testing.assert_array_equal(observation["observation/image/ego"], ego)
    np.testing.assert_array_equal(observation["observation/image/rear"], rear)
    np.testing.assert_array_equal(observation["observation/state"], state)
    assert observation["prompt"] == "pick the ball"


def test_a_contract_without_groups_is_one_of_its_own() -> None:
    ego, rear, _ = arrays()
    sent = {"video": {"ego": npy(ego[None, None]), "rear": npy(rear[None, None])}, "language": {LANGUAGE: [["go"]]}}
    sent["state"] = {"state": npy(np.array([[[1, 2]]], np.float32))}
    heard = DIALECT.read(ROVER, asking("get_action", {"observation": sent}))
    assert isinstance(heard, Observed)
    check_observation(ROVER, heard.observation)
    answer = replace(ANSWER, chunk=CHUNK[:, :2])
    actions, _ = msgpack.unpackb(DIALECT.write(ROVER, answer, heard))
    assert list(actions) == ["action"]


def test_an_answer_has_the_form_of_its_question() -> None:
    parts = {"left_arm": np.ascontiguousarray(CHUNK[:, :2]), "gripper": np.ascontiguousarray(CHUNK[:, 2:])}
    info: dict[str, Any] = {"policy": "ab" * 32, "request": "request-1", "rollout": "rollout-1", "arm": "canary"}
    info["server_timing"] = {"infer_ms": 1.5}
    asked = dict(frames())
    flat_parts = {f"action.{name}": npy(part) for name, part in parts.items()}
    batch = {name: part[np.newaxis] for name, part in parts.items()}
    expected = {
        "N1.5": flat_parts,
        "N1.6": [{name: npy(part) for name, part in batch.items()}, info],
        "N1.7": [{name: numpy_map(part) for name, part in batch.items()}, info],
    }
    for name, reply in expected.items():
        assert DIALECT.write(ARM, ANSWER, observed(asked[name])) == msgpack.packb(reply)


def test_n1_5_with_a_batch_gets_a_batch() -> None:
    ego, rear, state = arrays()
    wide = {
        "video.ego": npy(ego[None, None]),
        "video.rear": npy(rear[None, None]),
        "state.left_arm": npy(state[None, None, :2]),
        "state.gripper": npy(state[None, None, 2:]),
        LANGUAGE: [["pick the ball"]],
    }
    heard = observed(asking("get_action", wide))
    check_observation(ARM, heard.observation)
    reply = msgpack.unpackb(DIALECT.write(ARM, ANSWER, heard))
    assert reply["action.left_arm"] == npy(np.ascontiguousarray(CHUNK[np.newaxis, :, :2]))


@pytest.mark.parametrize("client", ["n1.5", "n1.6", "n1.7"])
def test_a_client_s_own_frame_has_the_answer_that_is_kept(client: str) -> None:
    """The questions are what the unmodified clients wrote, `n1.6` word for word also those of DROID and N1.7's release;
    whoever changes a byte of an answer changes what clients in the field read."""
    kept = json.loads(GOLDEN.read_text())[client]
    heard = DIALECT.read(SMALL, bytes.fromhex(kept["question"]))
    assert isinstance(heard, Observed)
    check_observation(SMALL, heard.observation)
    ego = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(heard.observation["observation/image/ego"], ego)
    np.testing.assert_array_equal(heard.observation["observation/image/rear"], ego + 100)
    np.testing.assert_array_equal(heard.observation["observation/state"], np.array([0.25, -0.5, 0.75], np.float32))
    assert heard.observation["prompt"] == "pick ball 0"
    assert DIALECT.write(SMALL, SMALL_ANSWER, heard).hex() == kept["answer"]


def test_what_needs_no_policy() -> None:
    ping = DIALECT.read(ARM, asking("ping"))
    assert ping == Said(reply=b"\x82\xa6status\xa2ok\xa7message\xb1Server is running")
    assert DIALECT.read(ARM, asking("reset", {"options": None})) == Said(reply=b"\x80", boundary=True)
    assert msgpack.unpackb(UNAUTHORIZED) == {"error": "Unauthorized: Invalid API token"}


def test_modalities_are_told_under_every_generation_s_mark() -> None:
    told = said(asking("get_modality_config"))
    assert list(told) == ["video", "state", "action", "language"]
    action = {"delta_indices": list(range(8)), "modality_keys": ["left_arm", "gripper"]}
    assert told["action"] == {
        "__ModalityConfig_class__": True,
        "__ModalityConfig__": True,
        "as_json": action,
        "as_dict": action,
    }
    assert told["language"]["as_json"]["modality_keys"] == [LANGUAGE]


def test_n1_5_is_told_its_modalities_as_texts() -> None:
    told = said(asking("get_modality_config"), Gr00t(modality_text=True))
    assert json.loads(told["video"]["as_json"]) == {"delta_indices": [0], "modality_keys": ["video.ego", "video.rear"]}
    assert json.loads(told["language"]["as_json"])["modality_keys"] == [LANGUAGE]


def with_data(data: Any) -> bytes:
    return asking("get_action", data)


REFUSED: dict[str, tuple[bytes, Code]] = {
    "kill": (asking("kill"), Code.WIRE_AUTH),
    "unknown endpoint": (asking("inference"), Code.WIRE_FRAME),
    "endpoint as a list": (bytes(msgpack.packb({"endpoint": ["ping"]})), Code.WIRE_FRAME),
    "endpoint as an array": (bytes(msgpack.packb({"endpoint": npy(np.zeros(3))})), Code.WIRE_FRAME),
    "instruction as an array": (with_data({**flat(), LANGUAGE: npy(np.zeros(3))}), Code.WIRE_OBSERVATION),
    "instructions of two robots": (with_data({**flat(), LANGUAGE: ["push", "pull"]}), Code.WIRE_OBSERVATION),
    "no data": (asking("get_action"), Code.WIRE_FRAME),
    "data as a list": (with_data([1]), Code.WIRE_FRAME),
    "observation as a list": (with_data({"observation": [1]}), Code.WIRE_FRAME),
    "more beside the observation": (with_data({"observation": nested(), "policy": "x"}), Code.WIRE_FRAME),
    "two instructions": (with_data(flat(annotation__second=["push"])), Code.WIRE_OBSERVATION),
    "marked false": (with_data({"a": {"__ndarray_class__": False, "as_npy": b""}}), Code.WIRE_FRAME),
    "blob as text": (with_data({"a": {"__ndarray_class__": True, "as_npy": "x"}}), Code.WIRE_FRAME),
    "both marks": (with_data({"a": {**npy(np.zeros(1)), b"nd": True}}), Code.WIRE_FRAME),
    "pickled": (with_data({"a": {**numpy_map(np.zeros(1)), b"kind": b"O"}}), Code.WIRE_FRAME),
    "structured": (with_data({"a": {**numpy_map(np.zeros(1)), b"kind": b"V"}}), Code.WIRE_FRAME),
    "object type": (with_data({"a": {**numpy_map(np.zeros(1)), b"type": "|O"}}), Code.WIRE_FRAME),
    "type of lists": (with_data({"a": {**numpy_map(np.zeros(1)), b"type": [["a", "|O"]]}}), Code.WIRE_FRAME),
    "one for true": (with_data({"a": {**numpy_map(np.zeros(1)), b"nd": 1}}), Code.WIRE_FRAME),
    "data as text": (with_data({"a": {**numpy_map(np.zeros(1)), b"data": "12345678"}}), Code.WIRE_FRAME),
    "wrong size": (with_data({"a": {**numpy_map(np.zeros(1)), b"shape": [2]}}), Code.WIRE_FRAME),
    "marks as texts": (with_data({"a": {"nd": True, "kind": "O", "data": b""}}), Code.WIRE_FRAME),
    "complex": (with_data({"a": {b"complex": True, b"data": "1j"}}), Code.WIRE_FRAME),
    "array for a message": (bytes(msgpack.packb(npy(np.zeros(1)))), Code.WIRE_FRAME),
    "modality sent": (with_data({"a": {"__ModalityConfig_class__": True, "as_json": b"{}"}}), Code.WIRE_FRAME),
    "too large": (asking("ping", token="x" * 60_000) + bytes(1 << 20), Code.WIRE_LIMIT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_client_sends_is_refused_with_a_code(name: str) -> None:
    frame, code = REFUSED[name]
    with pytest.raises(WireError) as caught:
        DIALECT.read(ARM, frame)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"video__ego": None}, "observation/image/ego"),
        ({"video__side": npy(np.zeros((1, 4, 4, 3), np.uint8))}, "video.side"),
        ({"video__ego": npy(np.zeros((2, 64, 64, 3), np.uint8))}, r"\(2, 64, 64, 3\)"),
        ({"video__ego": npy(np.zeros((1, 64, 64, 3), np.float32))}, "float32"),
        ({"state__left_arm": npy(np.zeros((1, 3)))}, "observation/state"),
        ({"state__left_arm": npy(np.zeros((2, 2)))}, "observation/state"),
        ({"state__right_arm": npy(np.zeros((1, 2)))}, "state"),
        ({"history": npy(np.zeros((1, 2)))}, "history"),
    ],
)
def test_what_is_not_of_the_contract_is_refused_by_its_name(changes: dict[str, Any], named: str) -> None:
    heard = observed(asking("get_action", flat(**changes)))
    with pytest.raises(ContractError, match=named):
        check_observation(ARM, heard.observation)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ServeError(Code.SERVE_TIMEOUT, "no action within 1 s", "wait"), "E-SERVE-002  hold: no action within 1 s"),
        (WireError(Code.WIRE_OBSERVATION, "field 'x'", "correct"), "E-WIRE-003  field 'x'; correct"),
    ],
)
def test_errors_are_codes_and_keep_the_talk(error: VolanoError, text: str) -> None:
    reply = DIALECT.refuse(error, None)
    assert isinstance(reply.frame, bytes)
    assert (msgpack.unpackb(reply.frame), reply.ends) == ({"error": text}, "")


def test_the_token_is_found_without_decoding_an_array() -> None:
    broken = {"a": {"__ndarray_class__": True, "as_npy": b"no array"}}
    assert token_of(asking("get_action", broken, token="key")) == "key"
    assert token_of(asking("ping")) == ""
    assert token_of(bytes(msgpack.packb({"api_token": 5}))) == ""


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_frame_never_ends_in_another_error(data: st.DataObject) -> None:
    names = dict(frames("key-of-arm-01"))
    frame = bytearray(names[data.draw(st.sampled_from(sorted(names)))])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, min(len(frame), 600) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        token_of(bytes(frame))
    with suppress(WireError, ContractError):
        heard = DIALECT.read(ARM, bytes(frame))
        if isinstance(heard, Observed):
            check_observation(ARM, heard.observation)


def test_every_made_frame_is_within_the_contract_s_size() -> None:
    assert all(len(frame) <= frame_limit(ARM) for _, frame in frames())
