"""Blobs of .npy are read as NumPy writes them, written so that NumPy reads them, and refused when they lie."""

import io
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.unit.inference.protocols.test_arrays import arrays, same
from volano.errors import Code, WireError
from volano.inference.protocols.arrays import checked, pack
from volano.inference.protocols.spellings import NPY


def read_npy(blob: bytes) -> Any:
    """The array of a blob, as a message brings it."""
    message = checked({"field": {"__ndarray_class__": True, "as_npy": blob}})
    assert message.spelling == NPY
    return message.fields["field"]


def write_npy(array: Any) -> bytes:
    """The blob of an array in an answer."""
    blob: bytes = msgpack.unpackb(pack({"field": array}, NPY))["field"]["as_npy"]
    return blob


def saved(array: Any) -> bytes:
    """As NumPy writes it."""
    blob = io.BytesIO()
    np.save(blob, array, allow_pickle=False)
    return blob.getvalue()


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_numpy_s_blobs_are_read_and_ours_are_read_by_numpy(array: Any) -> None:
    assert same(read_npy(saved(array)), np.ascontiguousarray(array).reshape(array.shape))
    assert same(np.load(io.BytesIO(write_npy(array)), allow_pickle=False), array)
    assert same(read_npy(write_npy(array)), array)


@given(hnp.arrays(np.dtype("<f4"), hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)))
@settings(max_examples=100, deadline=None)
def test_arrays_by_columns_are_turned(array: Any) -> None:
    read = read_npy(saved(np.asfortranarray(array)))
    assert same(read, array)
    assert read.flags.c_contiguous
    assert not read.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    blob = io.BytesIO()
    np.lib.format.write_array(blob, np.arange(6, dtype="<i4").reshape(2, 3), version=version, allow_pickle=False)
    assert read_npy(blob.getvalue()).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_is_written_is_fixed_byte_for_byte() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"
    expected = b"\x93NUMPY\x01\x00\x76\x00" + header + b" " * (117 - len(header)) + b"\n" + b"\0\0\x80?\0\0\0@"
    assert write_npy(np.array([[1.0, 2.0]], np.float32)) == expected


def blob(header: bytes, data: bytes = bytes(8), version: bytes = b"\x01\x00") -> bytes:
    """A blob of eight bytes under a header."""
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


SOUND = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }   \n"
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "magic alone": b"\x93NUMPY",
    "another magic": b"PK\x03\x04" + blob(SOUND)[4:],
    "unknown version": blob(SOUND, version=b"\x04\x00"),
    "header beyond the end": b"\x93NUMPY\x01\x00\xff\xff" + SOUND,
    "long header": blob(SOUND[:-1] + b" " * 2000 + b"\n"),
    "four bytes of length": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + SOUND,
    "objects": blob(SOUND.replace(b"<f4", b"|O8")),
    "object without a size": blob(SOUND.replace(b"<f4", b"|O")),
    "structured": blob(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n"),
    "big-endian": blob(SOUND.replace(b"<f4", b">f4")),
    "text": blob(SOUND.replace(b"<f4", b"<U1")),
    "dates": blob(SOUND.replace(b"<f4", b"<M8")),
    "complex": blob(SOUND.replace(b"<f4", b"<c8")),
    "an expression": blob(b"__import__('os').abort()\n"),
    "an expression as a side": blob(SOUND.replace(b"(2,)", b"(1+1,)")),
    "a call as order": blob(SOUND.replace(b"False", b"bool(0)")),
    "no tuple": blob(SOUND.replace(b"(2,)", b"(2)")),
    "negative side": blob(SOUND.replace(b"(2,)", b"(-2,)")),
    "two commas": blob(SOUND.replace(b"(2,)", b"(2,,1)")),
    "split digits": blob(SOUND.replace(b"(2,)", b"(1 2,)")),
    "huge side": blob(SOUND.replace(b"(2,)", b"(99999999999999999999,)")),
    "sides that overflow": blob(SOUND.replace(b"(2,)", b"(65536, 65536, 65536, 65536)")),
    "six sides": blob(SOUND.replace(b"(2,)", b"(1, 1, 1, 1, 1, 2)")),
    "too few bytes": blob(SOUND, bytes(4)),
    "too many bytes": blob(SOUND, bytes(12)),
    "a second array": blob(SOUND) + blob(SOUND),
    "a key more": blob(SOUND.replace(b"}", b"'more': 1, }")),
    "a key twice": blob(SOUND.replace(b"}", b"'shape': (2,), }")),
    "no line end": blob(SOUND[:-1]),
    "wild truth values": blob(SOUND.replace(b"<f4", b"|b1"), b"\x02\x00"),
}


def test_the_sound_one_is_sound() -> None:
    assert read_npy(blob(SOUND)).tolist() == [0, 0]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_blobs_are_refused_with_a_code(name: str) -> None:
    with pytest.raises(WireError) as caught:
        read_npy(HOSTILE[name])
    assert caught.value.code in {Code.WIRE_FRAME, Code.WIRE_LIMIT}
    assert len(caught.value.cause) < 200


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_blob_never_ends_in_another_error(data: st.DataObject) -> None:
    damaged = bytearray(saved(np.arange(6, dtype=np.float32).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        read_npy(bytes(damaged))


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(2, np.uint64)])
def test_other_arrays_are_not_written(array: Any) -> None:
    with pytest.raises(WireError):
        write_npy(array)
