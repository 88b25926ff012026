"""The wire codec returns what was packed, and refuses every frame that lies about what it holds."""

import struct
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volano.errors import Code, WireError
from volano.inference.protocols.arrays import pack, unpack

DTYPES = ["?", "u1", "i1", "<u2", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
scalars = st.sampled_from(["?", "u1", "<i4", "<f4", "<f2"]).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), ()).map(lambda array: array[()])
)
leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=40) | arrays | scalars
)


names = st.text(max_size=20).filter(lambda name: not name.startswith("__"))
"""The marks of arrays are no names of fields."""


def containers_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return inner | st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)


messages = st.dictionaries(names, containers_of(containers_of(leaves)), max_size=6)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and, for arrays, in every byte."""
    if isinstance(one, (np.ndarray, np.generic)):
        return (
            type(one) is type(other)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(same(left, right) for left, right in zip(one, other, strict=True))
        )
    if isinstance(one, float):
        return isinstance(other, float) and struct.pack("d", one) == struct.pack("d", other)
    return type(one) is type(other) and one == other


@given(messages)
@settings(max_examples=200, deadline=None)
def test_a_round_trip_loses_nothing(message: dict[str, Any]) -> None:
    assert same(message, unpack(pack(message)))


def test_arrays_are_read_only_for_good_and_hold_nothing_else() -> None:
    array = unpack(pack({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(1000)}))["a"]
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    held = np.asarray(array.base).base
    assert isinstance(held, bytes)
    assert len(held) == array.nbytes


@pytest.mark.parametrize("array", [np.arange(4, dtype=">f4"), np.arange(12, dtype=np.int32).reshape(3, 4).T[::2]])
def test_foreign_layouts_are_packed_in_the_wires_own(array: np.ndarray[Any, Any]) -> None:
    decoded = unpack(pack({"a": array}))["a"]
    assert decoded.dtype.str.startswith("<")
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(2, np.uint64)])
def test_other_arrays_are_not_packed(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(WireError) as caught:
        pack({"a": array})
    assert caught.value.code is Code.WIRE_FRAME


def wire_array(**changes: Any) -> bytes:
    """A frame with one array of two float32, some of whose fields are replaced."""
    fields = {"data": bytes(8), "dtype": "<f4", "shape": [2], **changes}
    return bytes(msgpack.packb({"a": {b"__ndarray__": True, **{key.encode(): value for key, value in fields.items()}}}))


def nested(depth: int) -> bytes:
    """Lists within lists, in one byte each."""
    return b"\x81\xa1a" + b"\x91" * depth + b"\xc0"


HOSTILE: dict[str, bytes] = {
    "object pointers": wire_array(dtype="|O"),
    "structured type": wire_array(dtype="|V4"),
    "text type": wire_array(dtype="<U2"),
    "big-endian": wire_array(dtype=">f4"),
    "native order": wire_array(dtype="f4"),
    "type by name": wire_array(dtype="float32"),
    "type as list": wire_array(dtype=[["a", "|O"]]),
    "type as bytes": wire_array(dtype=b"<f4"),
    "size too large": wire_array(shape=[3]),
    "size too small": wire_array(shape=[1]),
    "negative sides": wire_array(shape=[-1, -2]),
    "true as a side": wire_array(shape=[True, 2]),
    "fraction as a side": wire_array(shape=[2.0]),
    "shape is a number": wire_array(shape=2),
    "huge side": wire_array(shape=[1 << 40]),
    "sides that overflow": wire_array(shape=[1 << 16, 1 << 16, 1 << 16, 1 << 16]),
    "zero hides a huge side": wire_array(shape=[0, 1 << 40], data=b""),
    "six dimensions": wire_array(shape=[1, 1, 1, 1, 1, 2]),
    "data is text": wire_array(data="12345678"),
    "extra field": wire_array(more=1),
    "false mark": bytes(msgpack.packb({"a": {b"__ndarray__": 1, b"data": b"", b"dtype": "<f4", b"shape": [0]}})),
    "wild truth values": wire_array(dtype="|b1", data=b"\x02\x00"),
    "deep lists": nested(20),
    "very deep lists": nested(5000),
    "deep bomb": nested(2_000_000),
    "many lists": b"\x81\xa1a\xdc\x01\xf4" + (b"\xdc\x01\xf4" + b"\x90" * 500) * 500,
    "long list announced": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "long map announced": b"\xdf\xff\xff\xff\xff",
    "long bytes announced": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "long text": bytes(msgpack.packb({"a": "x" * 70_000})),
    "bare bytes": bytes(msgpack.packb({"a": b"bytes"})),
    "extension": bytes(msgpack.packb({"a": msgpack.ExtType(5, b"x")})),
    "timestamp": bytes(msgpack.packb({"a": msgpack.Timestamp(1, 2)})),
    "number as key": b"\x81\x01\x02",
    "bytes key": bytes(msgpack.packb({b"a": 1})),
    "array as key": b"\x81\x91\x01\x02",
    "key twice": b"\x82\xa1a\x01\xa1a\x02",
    "list on top": bytes(msgpack.packb([1, 2])),
    "array on top": bytes(msgpack.packb({b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [0]})),
    "text that is not UTF-8": b"\x81\xa1a\xa1\xff",
    "bytes after the end": pack({"a": 1}) + b"\x00",
    "empty": b"",
    "scalar of another kind": bytes(msgpack.packb({"a": {b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}})),
    "scalar out of range": bytes(msgpack.packb({"a": {b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}})),
    "scalar of objects": bytes(msgpack.packb({"a": {b"__npgeneric__": True, b"data": 1, b"dtype": "|O"}})),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_refused_with_a_code(name: str) -> None:
    with pytest.raises(WireError) as caught:
        unpack(HOSTILE[name])
    assert caught.value.code in {Code.WIRE_FRAME, Code.WIRE_LIMIT}
    assert len(caught.value.cause) < 200


def test_too_long_a_frame_is_not_decoded() -> None:
    with pytest.raises(WireError) as caught:
        unpack(pack({"a": np.zeros(100)}), max_bytes=100)
    assert caught.value.code is Code.WIRE_LIMIT


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_never_ends_in_another_error(frame: bytes) -> None:
    with suppress(WireError):
        unpack(frame)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_frame_never_ends_in_another_error(data: st.DataObject) -> None:
    frame = bytearray(pack({"a": np.arange(6, dtype=np.float32), "b": {"c": [1, 2.5, "x"]}, "d": np.float32(3)}))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        unpack(bytes(frame))
