"""GR00T's HTTP form: bodies become observations, answers are JSON with a status, hostile bodies are refused."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inference.protocols.gr00t_frames import ARM, arrays, bodies, flat, json_numpy
from tests.unit.inference.protocols.test_gr00t import ANSWER, CHUNK, GOLDEN, SMALL, SMALL_ANSWER
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.dialect import Observed
from volano.inference.protocols.gr00t_http import Gr00tHttp, body_limit, split
from volano.inference.session import check_observation

DIALECT = Gr00tHttp()


def observed(body: bytes) -> Observed:
    heard = DIALECT.read(ARM, body)
    assert isinstance(heard, Observed)
    return heard


@pytest.mark.parametrize("name", [name for name, _ in bodies()])
def test_every_body_is_one_observation(name: str) -> None:
    observation = observed(dict(bodies())[name]).observation
    check_observation(ARM, observation)
    ego, rear, state = arrays()
    np.testing.assert_array_equal(observation["observation/image/ego"], ego)
    np.testing.assert_array_equal(observation["observation/image/rear"], rear)
    np.testing.assert_array_equal(observation["observation/state"], state)
    assert observation["prompt"] == "pick the ball"


def test_an_answer_is_a_status_and_arrays() -> None:
    status, body = split(DIALECT.write(ARM, ANSWER, observed(dict(bodies())["act"])))
    parts = {"action.left_arm": CHUNK[:, :2], "action.gripper": CHUNK[:, 2:]}
    assert (status, body) == (200, json.dumps({name: json_numpy(part) for name, part in parts.items()}).encode())


def test_a_client_s_own_body_has_the_answer_that_is_kept() -> None:
    kept = json.loads(GOLDEN.read_text())["http"]
    heard = DIALECT.read(SMALL, bytes.fromhex(kept["question"]))
    assert isinstance(heard, Observed)
    check_observation(SMALL, heard.observation)
    assert DIALECT.write(SMALL, SMALL_ANSWER, heard).hex() == kept["answer"]


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (ServeError(Code.SERVE_TIMEOUT, "late", "wait"), 503, "E-SERVE-002  hold: late"),
        (ContractError(Code.CONTRACT_MISMATCH, "field 'x'", "correct"), 400, "E-CONTRACT-001  field 'x'; correct"),
        (
            WireError(Code.WIRE_AUTH, "unknown or missing key", "enroll"),
            401,
            "E-WIRE-002  unknown or missing key; enroll",
        ),
        (WireError(Code.WIRE_LIMIT, "too much", "less"), 413, "E-WIRE-004  too much; less"),
    ],
)
def test_errors_are_statuses_and_codes(error: VolanoError, status: int, detail: str) -> None:
    frame = DIALECT.refuse(error, None).frame
    assert isinstance(frame, bytes)
    assert split(frame) == (status, json.dumps({"detail": detail}).encode())


def body(**changes: Any) -> bytes:
    return json.dumps({"observation": flat(json_numpy, **changes)}).encode()


def one(**changes: Any) -> bytes:
    """A body with an array of two numbers, some of whose fields are replaced."""
    array = {"__numpy__": "AAAAAAAAAAA=", "dtype": "<f4", "shape": [2], **changes}
    return json.dumps(
        {"observation": {"a": {key: value for key, value in array.items() if value is not None}}}
    ).encode()


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no observation": b"{}",
    "observation as a list": b'{"observation": []}',
    "observation is an array": json.dumps({"observation": json_numpy(np.zeros(2))}).encode(),
    "encoded twice": json.dumps({"encoded": json.dumps({"encoded": "{}"})}).encode(),
    "encoded as a list": b'{"encoded": []}',
    "half a character, encoded": b'{"encoded": "\\ud800"}',
    "NaN": b'{"observation": {"a": NaN}}',
    "infinite": b'{"observation": {"a": -Infinity}}',
    "a key twice": b'{"observation": {}, "observation": {}}',
    "deep lists": b'{"observation": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "very deep lists": b"[" * 200_000,
    "many numbers": b'{"observation": [' + b"1," * 40_000 + b"1]}",
    "a long number": b'{"observation": {"a": ' + b"9" * 5000 + b"}}",
    "half a character": b'{"observation": {"a": "\\ud800"}}',
    "no UTF-8": b'{"observation": {"a": "\xff"}}',
    "a foreign letter": one(__numpy__="AAAAAA*AAAA="),
    "a line break": one(__numpy__="AAAA\nAAAAAAA="),
    "no padding": one(__numpy__="AAAAAAAAAAA"),
    "another alphabet": one(__numpy__="AAAA-_AAAAA="),
    "letters beyond ASCII": one(__numpy__="ÄAAAAAAAAAA="),
    "base64 as a list": one(__numpy__=["AAAA"]),
    "too few bytes": one(shape=[3]),
    "negative sides": one(shape=[-1, -2]),
    "fractions": one(shape=[2.0]),
    "shape as text": one(shape="2"),
    "huge sides": one(shape=[1 << 40, 0]),
    "objects": one(dtype="|O"),
    "structured": one(dtype=[["a", "<f4"]]),
    "no shape": one(shape=None),
    "more": one(more=1),
    "too large": b" " * (body_limit(ARM) + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused_with_a_code(name: str) -> None:
    with pytest.raises(WireError) as caught:
        DIALECT.read(ARM, HOSTILE[name])
    assert caught.value.code in {Code.WIRE_FRAME, Code.WIRE_LIMIT}
    assert len(caught.value.cause) < 200


def test_lists_are_no_arrays() -> None:
    heard = observed(body(state__left_arm=[[0.5, 0.5]]))
    with pytest.raises(ContractError, match="state"):
        check_observation(ARM, heard.observation)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_body_never_ends_in_another_error(data: st.DataObject) -> None:
    damaged = bytearray(dict(bodies())["act"])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 200) | st.integers(len(damaged) - 600, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    with suppress(WireError, ContractError):
        check_observation(ARM, observed(bytes(damaged)).observation)
