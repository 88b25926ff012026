"""`tf.train.Example` on the wire, parsed without TensorFlow: names to lists of bytes, floats or integers.

The whole message is walked within its bounds; nothing is allocated that the bytes do not pay for.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volano.data.readers.foreign import refuse, require

Feature = list[bytes] | NDArray[np.float32] | NDArray[np.int64]
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3


def parse(data: bytes) -> dict[str, Feature]:
    """The features of an Example; raises DataError(E-DATA-080) when it is none."""
    found: dict[str, Feature] = {}
    for number, features in _fields(memoryview(data)):
        if number != 1:
            continue
        for _, entry in _fields(_view(features)):
            pair = dict(_fields(_view(entry)))
            name = _text(pair.get(1, memoryview(b"")))
            require(name not in found, f"the feature {name!r} stands twice")
            found[name] = _feature(_view(pair.get(2, memoryview(b""))))
    return found


def _feature(data: memoryview) -> Feature:
    for number, value in _fields(data):
        if number == _BYTES:
            return [bytes(_view(item)) for _, item in _fields(_view(value))]
        if number == _FLOATS:
            return _floats(_view(value))
        if number == _INTEGERS:
            return _integers(_view(value))
    return []


def _floats(data: memoryview) -> NDArray[np.float32]:
    parts = [bytes(_view(item)) for _, item in _fields(data)]
    require(all(len(part) % 4 == 0 for part in parts), "a list of floats is cut off")
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float32)


def _integers(data: memoryview) -> NDArray[np.int64]:
    values: list[int] = []
    for _, item in _fields(data):
        if isinstance(item, int):
            values.append(item)
            continue
        at = 0
        while at < len(item):
            value, at = _varint(item, at)
            values.append(value)
    return np.array(values, np.uint64).astype(np.int64)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of every field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _DELIMITED:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise refuse(f"wire type {kind} in an Example")
        require(length <= len(data) - at, "an Example is cut off")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        require(at < len(data), "an Example is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise refuse("a number in an Example is too long")


def _view(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise refuse("a number stands where an Example has bytes")
    return value


def _text(value: memoryview | int) -> str:
    try:
        return bytes(_view(value)).decode()
    except UnicodeDecodeError as error:
        raise refuse("a feature's name is no text") from error
