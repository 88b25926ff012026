"""The openpi wire: msgpack maps with NumPy arrays as maps of bytes keys, as pure functions over bytes.

Every frame is hostile until `unpack` returned: arrays come from an allow-list of little-endian types, their sizes are
compared in Python's integers before NumPy sees them, and the number, length and depth of containers are bounded
while the frame is read. What `unpack` returns is copied and read-only.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, WireError

MAX_FRAME_BYTES = 32 << 20
"""No listener accepts more, whatever the contract says."""
_DTYPES = {text: np.dtype(text) for text in ("|b1", "|u1", "|i1", "<u2", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")}
_MAX_DEPTH = 8
_MAX_DIMENSIONS = 5
_MAX_SIDE = 1 << 16
_MAX_CONTAINERS = 512
_MAX_ITEMS = 512
"""Most entries of one list or map."""
_MAX_TEXT_BYTES = 1 << 16
_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"
_ARRAY_KEYS = {_ARRAY, b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {_SCALAR, b"data", b"dtype"}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}


def pack(message: Mapping[str, object]) -> bytes:
    """One frame from a map of texts, numbers, lists, maps and arrays; raises WireError(E-WIRE-001) for an array of a
    type that the wire does not carry."""
    return bytes(msgpack.packb(message, default=_encode))


def unpack(frame: bytes, max_bytes: int = MAX_FRAME_BYTES) -> dict[str, Any]:
    """The map that a frame holds; raises WireError: E-WIRE-004 when a limit is passed, E-WIRE-001 when it is not a map
    of what `pack` packs. Nothing is decoded of a frame with more than `max_bytes`."""
    if len(frame) > max_bytes:
        raise _beyond(f"the frame has {len(frame)} bytes, more than {max_bytes}")
    containers = _Containers()
    try:
        message = msgpack.unpackb(
            frame,
            list_hook=containers.list_of,
            object_pairs_hook=containers.map_of,
            max_str_len=_MAX_TEXT_BYTES,
            max_bin_len=max_bytes,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except WireError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise _malformed(f"the frame is not msgpack within the limits: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise _malformed(f"the frame holds a {type(message).__name__}, not a map")
    value = _value("", message, 1)
    if not isinstance(value, dict):
        raise _malformed("the frame holds one array, not a map")
    return value


class _Containers:
    """Counts lists and maps while a frame is read, so that a small frame cannot become many objects."""

    def __init__(self) -> None:
        self._left = _MAX_CONTAINERS

    def list_of(self, items: list[Any]) -> list[Any]:
        self._count()
        return items

    def map_of(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._count()
        items = dict(pairs)
        if len(items) != len(pairs):
            raise _malformed("a map has one key twice")
        return items

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _beyond(f"the frame holds more than {_MAX_CONTAINERS} lists and maps")


def _value(path: str, value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise _beyond(f"{_shown(path)} is nested deeper than {_MAX_DEPTH}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, list):
        return [_value(f"{path}[{number}]", item, depth + 1) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _malformed(f"{_shown(path)} is a bare {type(value).__name__}")
    if _ARRAY in value:
        return _array(path, value)
    if _SCALAR in value:
        return _scalar(path, value)
    if not all(isinstance(key, str) for key in value):
        raise _malformed(f"{_shown(path)} has a key that is not text")
    return {key: _value(f"{path}.{key}" if path else key, item, depth + 1) for key, item in value.items()}


def _array(path: str, value: dict[Any, Any]) -> NDArray[Any]:
    if set(value) != _ARRAY_KEYS or value[_ARRAY] is not True or not isinstance(value[b"data"], bytes):
        raise _malformed(f"{_shown(path)} is not a well-formed array")
    dtype, shape, data = _dtype(path, value[b"dtype"]), value[b"shape"], value[b"data"]
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise _malformed(f"{_shown(path)} has a shape that is not a list of counts")
    if len(shape) > _MAX_DIMENSIONS or any(side > _MAX_SIDE for side in shape):
        raise _beyond(f"{_shown(path)} has more than {_MAX_DIMENSIONS} dimensions or one above {_MAX_SIDE}")
    if prod(shape) * dtype.itemsize != len(data):
        raise _malformed(f"{_shown(path)} has {len(data)} bytes for shape {shape} of {dtype.str}")
    if dtype.kind == "b" and data.strip(b"\x00\x01"):
        raise _malformed(f"{_shown(path)} holds truth values that are neither 0 nor 1")
    array = np.frombuffer(data, dtype).reshape(shape).copy()
    array.flags.writeable = False
    return array


def _scalar(path: str, value: dict[Any, Any]) -> np.generic:
    if set(value) != _SCALAR_KEYS or value[_SCALAR] is not True:
        raise _malformed(f"{_shown(path)} is not a well-formed scalar")
    dtype, data = _dtype(path, value[b"dtype"]), value[b"data"]
    if type(data) not in _PYTHON_TYPES[dtype.kind]:
        raise _malformed(f"{_shown(path)} is a {type(data).__name__}, not a {dtype.str}")
    try:
        with np.errstate(over="ignore"):
            scalar: np.generic = dtype.type(data)
    except OverflowError as error:
        raise _malformed(f"{_shown(path)} does not fit a {dtype.str}") from error
    return scalar


def _dtype(path: str, text: object) -> np.dtype[Any]:
    if not isinstance(text, str) or text not in _DTYPES:
        raise _malformed(f"{_shown(path)} has an array type that is not allowed")
    return _DTYPES[text]


def _encode(value: object) -> object:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"the wire does not carry {type(value).__name__}")
    text = value.dtype.newbyteorder("<").str
    if text not in _DTYPES:
        raise _malformed(f"the wire does not carry arrays of {value.dtype}")
    if isinstance(value, np.ndarray):
        data = value.astype(_DTYPES[text], copy=False).tobytes()
        return {_ARRAY: True, b"data": data, b"dtype": text, b"shape": list(value.shape)}
    return {_SCALAR: True, b"data": value.item(), b"dtype": text}


def _shown(path: str) -> str:
    return f"field {path[:80]!r}"


def _malformed(cause: str) -> WireError:
    return WireError(Code.WIRE_FRAME, cause, "send msgpack maps with openpi's arrays, little-endian")


def _beyond(cause: str) -> WireError:
    return WireError(Code.WIRE_LIMIT, cause, "send what the embodiment's contract holds, and nothing else")
