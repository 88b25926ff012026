"""Every spelling of arrays returns what was put into it, is checked as strictly as openpi's, and is found again."""

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inference.protocols.test_arrays import messages, same
from volano.errors import Code, WireError
from volano.inference.protocols.arrays import pack, read, unpack
from volano.inference.protocols.spellings import MSGPACK_NUMPY, OPENPI, VLA_EVAL, VLLM, Picture, Spelling

SPELLINGS = {
    "openpi": OPENPI,
    "vla-eval": VLA_EVAL,
    "msgpack-numpy": MSGPACK_NUMPY,
    "vllm": VLLM,
    "text keys": Spelling(marks="nd", keys="text"),
    "text keys and kinds": Spelling(marks="nd", keys="text", kinds=True),
}


def plain(value: Any) -> Any:
    """Without NumPy's single numbers: vla-eval sends them as numbers of msgpack."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SPELLINGS)
@given(message=messages)
@settings(max_examples=60, deadline=None)
def test_a_round_trip_loses_nothing(name: str, message: dict[str, Any]) -> None:
    found = unpack(pack(message, SPELLINGS[name]))
    assert same(plain(message) if name == "vla-eval" else message, found)


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_spelling_is_found_again(name: str) -> None:
    assert read(pack({"a": np.arange(3), "b": {"c": [np.zeros(1)]}}, SPELLINGS[name])).spelling == SPELLINGS[name]
    assert read(pack({"a": 1}, SPELLINGS[name])).spelling == OPENPI


def nd(*, keys: str = "bytes", without: str = "", **changes: Any) -> dict[Any, Any]:
    fields = {"nd": True, "type": "<f4", "kind": "", "shape": [2], "data": bytes(8), **changes}
    named = {name: value for name, value in fields.items() if name != without}
    return {name.encode() if keys == "bytes" else name: value for name, value in named.items()}


def image(**changes: Any) -> dict[str, Any]:
    fields = {"__image__": True, "format": "png", "data": b"x", "shape": [1, 1, 3], **changes}
    return {name: value for name, value in fields.items() if value is not None}


HOSTILE: dict[str, dict[Any, Any]] = {
    "pickled objects": nd(type="|O", kind=b"O", data=b"\x80\x04."),
    "objects without their kind": nd(type="|O8"),
    "structured": nd(type=[["a", "<f4"]], kind=b"V"),
    "kind that differs": nd(kind="i"),
    "kind of objects": nd(kind="O"),
    "kind that is a list": nd(kind=["f"]),
    "type as bytes": nd(type=b"<f4"),
    "big-endian": nd(type=">f4"),
    "size lies": nd(shape=[3]),
    "negative": nd(shape=[-1]),
    "no shape": nd(without="shape"),
    "no data": nd(without="data"),
    "more": nd(more=1),
    "mark is a number": nd(nd=1),
    "element of two": nd(nd=False, without="shape"),
    "element of objects": {b"nd": False, b"type": "|O", b"data": bytes(8)},
    "complex": {b"complex": True, b"data": "1j"},
    "text keys, pickled": nd(keys="text", type="|O", kind="O"),
    "text keys of openpi, objects": {"__ndarray__": True, "data": bytes(8), "dtype": "|O", "shape": [1]},
    "text keys of openpi, more": {"__ndarray__": True, "data": b"", "dtype": "<f4", "shape": [0], "more": 1},
    "gif": image(format="gif"),
    "image of a list": image(format=["png"]),
    "image that is text": image(data="x"),
    "image without a shape": image(shape=None),
    "image of a negative shape": image(shape=[-1, 1, 3]),
    "image with more": image(more=1),
    "raw image of objects": image(format="raw", dtype="|O"),
    "mark of an image is a number": image(__image__=1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_with_a_code(name: str) -> None:
    with pytest.raises(WireError) as caught:
        unpack(bytes(msgpack.packb({"a": HOSTILE[name]})))
    assert caught.value.code in {Code.WIRE_FRAME, Code.WIRE_LIMIT}
    assert len(caught.value.cause) < 200


def test_two_spellings_in_one_frame_are_refused() -> None:
    mixed = {"a": nd(), "b": {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [0]}}
    with pytest.raises(WireError, match="two ways"):
        unpack(bytes(msgpack.packb(mixed)))


def test_a_map_that_is_only_a_map_stays_one() -> None:
    message = {"a": {"nd": True, "type": "car"}, "b": {"data": "x", "shape": [1]}}
    assert unpack(bytes(msgpack.packb(message))) == message


def test_an_image_file_is_not_decoded() -> None:
    assert unpack(bytes(msgpack.packb({"a": image()})))["a"] == Picture(coding="png", data=b"x")


@given(data=st.binary(min_size=4, max_size=4))
def test_an_element_is_a_number_of_its_type(data: bytes) -> None:
    found = unpack(bytes(msgpack.packb({"a": {b"nd": False, b"type": "<f4", b"data": data}})))["a"]
    assert (type(found), found.tobytes()) == (np.float32, data)
