"""Frames whose large pieces are taken out read as they do whole; everything that is not simple is left whole."""

import msgpack
import numpy as np
import pytest

from volano.errors import VolanoError
from volano.inference.protocols.apart import apart
from volano.inference.protocols.arrays import pack, read
from volano.inference.protocols.spellings import JSON_NUMPY, MSGPACK_NUMPY, NPY, OPENPI, VLA_EVAL, VLLM, Spelling

MESSAGE = {
    "image": np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3),
    "state": np.linspace(-1, 1, 7, dtype=np.float32),
    "wide": {"inner": np.arange(2000, dtype=np.float32), "prompt": "lift it" * 40, "n": [1, -3, 1 << 40, 2.5, None]},
    "ok": True,
}
SPELLINGS = (OPENPI, VLA_EVAL, MSGPACK_NUMPY, VLLM, NPY, JSON_NUMPY)


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: f"{spelling.marks} {spelling.keys}")
def test_a_view_reads_as_its_bytes_do(spelling: Spelling) -> None:
    frame = pack(MESSAGE, spelling)
    one, other = read(frame), read(memoryview(frame))
    assert one.spelling == other.spelling
    assert same(one.fields, other.fields)


def test_large_arrays_are_views_that_cannot_be_written() -> None:
    frame = pack(MESSAGE)
    image = read(memoryview(frame)).fields["image"]
    assert np.shares_memory(image, np.frombuffer(frame, np.uint8))
    assert not image.flags.writeable


def test_what_is_left_is_small_and_names_every_piece() -> None:
    found = apart(memoryview(pack(MESSAGE)))
    assert found is not None
    rest, pieces = found
    assert (len(rest) < 1000, [len(piece) for piece in pieces]) == (True, [48 * 48 * 3, 8000])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        pack({"a": 1}),
        b"\x81\xa1a\xc1" + b"\0" * 5000,
        msgpack.packb({"a": msgpack.ExtType(0, b"\0\0\0\0"), "b": b"x" * 5000}),
        msgpack.packb({"a": [0] * 600, "b": b"x" * 5000}),
        b"\xc6\xff\xff\xff\xff" + b"x" * 5000,
        b"\xc6\xff",
    ],
    ids=["nothing", "small", "unused token", "an extension", "many tokens", "beyond", "half a length"],
)
def test_what_is_not_simple_is_left_whole(frame: bytes) -> None:
    assert apart(memoryview(frame)) is None


@pytest.mark.parametrize(
    "message",
    [
        {"a": b"x" * 5000},
        {b"k" * 5000: 1},
        [b"x" * 5000],
        {"a": {b"__ndarray__": True, b"data": b"x" * 5000, b"dtype": "|u1", b"shape": [4999]}},
        {"a": {b"__ndarray__": True, b"data": 1, b"dtype": b"|u1" * 2000, b"shape": [1]}},
        {"a": {b"__ndarray__": True, b"data": b"x" * 5000, b"dtype": "|O", b"shape": [5000]}},
        {"a": {b"__ndarray__": True, b"data": b"\x02" * 5000, b"dtype": "|b1", b"shape": [5000]}},
        {"a": {"__image__": True, "format": "png", "data": b"x" * 5000, "shape": [1, 1, 3], "more": 1}},
        {"a": {"__ndarray_class__": True, "as_npy": b"x" * 5000}},
        pack(MESSAGE)[:-1],
        pack(MESSAGE) + b"\0",
    ],
    ids=range(11),
)
def test_a_view_is_refused_as_its_bytes_are(message: object) -> None:
    frame = message if isinstance(message, bytes) else msgpack.packb(message)
    with pytest.raises(VolanoError) as one:
        read(frame)
    with pytest.raises(VolanoError) as other:
        read(memoryview(frame))
    assert one.value.code == other.value.code
