"""Messages with NumPy arrays, in every spelling that robots' clients have, as pure functions.

Every frame is hostile until `unpack` returned: arrays come from an allow-list of little-endian types, their sizes are
compared in Python's integers before NumPy sees them, and the number, length and depth of containers are bounded
while the frame is read. What `unpack` returns is read-only, and holds nothing of the frame but its own bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, WireError
from volano.inference.protocols.apart import PIECE_BYTES, apart
from volano.inference.protocols.spellings import OPENPI, Claim, Picture, Spelling, claim, malformed, written

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
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a frame holds."""

    fields: dict[str, Any]
    spelling: Spelling
    """Of its arrays; openpi's when it has none."""


def pack(message: Mapping[str, object] | list[object], spelling: Spelling = OPENPI) -> bytes:
    """One frame from a map or list of texts, numbers, lists, maps and arrays; raises WireError(E-WIRE-001) for an array
    of a type that the wire does not carry."""
    return bytes(msgpack.packb(message, default=partial(_encode, spelling)))


def unpack(frame: bytes | memoryview, max_bytes: int = MAX_FRAME_BYTES) -> dict[str, Any]:
    """The map that a frame holds; raises like `read`."""
    return read(frame, max_bytes).fields


def read(frame: bytes | memoryview, max_bytes: int = MAX_FRAME_BYTES) -> Message:
    """The map that a frame holds, its arrays in one of the spellings that `volano.inference.protocols.spellings` knows.

    Raises WireError: E-WIRE-004 when a limit is passed, E-WIRE-001 when it is not a map of what `pack` packs. Nothing
    is decoded of a frame with more than `max_bytes`; an image file comes out as a `Picture`, of which nothing is. Large
    arrays of a frame that is a view are views as well: it must not change while they are held.
    """
    return checked(parse(frame, max_bytes))


def parse(frame: bytes | memoryview, max_bytes: int = MAX_FRAME_BYTES) -> dict[Any, Any]:
    """The map that a frame of msgpack holds, within the limits, but with arrays still in their spelling and nothing
    said about them: what `checked` takes. Raises like `read`."""
    if len(frame) > max_bytes:
        raise beyond(f"the frame has {len(frame)} bytes, more than {max_bytes}")
    containers = _Containers()
    found = apart(frame) if isinstance(frame, memoryview) else None
    whole, pieces = (frame, ()) if found is None else found
    try:
        message = msgpack.unpackb(
            whole,
            list_hook=containers.list_of,
            object_pairs_hook=containers.map_of,
            max_str_len=_MAX_TEXT_BYTES,
            max_bin_len=max_bytes,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=PIECE_BYTES if pieces else 0,
            ext_hook=lambda _, number: pieces[int.from_bytes(number)],
        )
    except WireError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise malformed(f"the frame is not msgpack within the limits: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise malformed(f"the frame holds a {type(message).__name__}, not a map")
    return message


def checked(message: dict[Any, Any]) -> Message:
    """A map whose keys are texts, with its arrays; raises WireError for anything that no client sends."""
    spellings: set[Spelling] = set()
    fields = _value("", message, 1, spellings)
    if not isinstance(fields, dict):
        raise malformed("the frame holds one array, not a map")
    if len(spellings) > 1:
        raise malformed("the frame spells its arrays in two ways")
    return Message(fields=fields, spelling=spellings.pop() if spellings else OPENPI)


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
            raise malformed("a map has one key twice")
        return items

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise beyond(f"the frame holds more than {_MAX_CONTAINERS} lists and maps")


def _value(path: str, value: Any, depth: int, spellings: set[Spelling]) -> Any:
    if depth > _MAX_DEPTH:
        raise beyond(f"{shown(path)} is nested deeper than {_MAX_DEPTH}")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _text(path, value)
    if isinstance(value, list):
        return [_value(f"{path}[{number}]", item, depth + 1, spellings) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        raise malformed(f"{shown(path)} is bare binary data")
    claimed = claim(value)
    if claimed is not None:
        spellings.add(claimed.spelling)
        return _READERS[claimed.form](path, claimed)
    if not all(isinstance(key, str) for key in value):
        raise malformed(f"{shown(path)} has a key that is not text")
    return {key: _value(f"{path}.{key}" if path else key, item, depth + 1, spellings) for key, item in value.items()}


def _text(path: str, value: str) -> str:
    """The text, unless it has halves of characters, as JSON can: no UTF-8 can say them."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise malformed(f"{shown(path)} is a text that is not UTF-8") from error
    return value


def array_of(path: str, claimed: Claim) -> NDArray[Any]:
    """The array that is claimed at a path; raises WireError unless type, shape and bytes agree and lie within the
    limits."""
    return _columns(path, claimed) if claimed.form == "columns" else _array(path, claimed)


def _array(path: str, claimed: Claim) -> NDArray[Any]:
    dtype, shape, data = _dtype(path, claimed), _shape(path, claimed.shape), claimed.data
    if not isinstance(data, bytes | memoryview) or prod(shape) * dtype.itemsize != len(data):
        size = f"{len(data)} bytes" if isinstance(data, bytes | memoryview) else f"a {type(data).__name__}"
        raise malformed(f"{shown(path)} has {size} for shape {shape} of {dtype.str}")
    if dtype.kind == "b" and bytes(data).strip(b"\x00\x01"):
        raise malformed(f"{shown(path)} holds truth values that are neither 0 nor 1")
    return np.frombuffer(data, dtype).reshape(shape)


def _columns(path: str, claimed: Claim) -> NDArray[Any]:
    """An array whose first side runs fastest in its bytes, in the usual order."""
    shape = _shape(path, claimed.shape)
    array = np.ascontiguousarray(_array(path, claimed._replace(shape=shape[::-1])).T).reshape(shape)
    array.flags.writeable = False
    return array


def _scalar(path: str, claimed: Claim) -> np.generic:
    dtype, data = _dtype(path, claimed), claimed.data
    if type(data) not in _PYTHON_TYPES[dtype.kind]:
        raise malformed(f"{shown(path)} is a {type(data).__name__}, not a {dtype.str}")
    try:
        with np.errstate(over="ignore"):
            scalar: np.generic = dtype.type(data)
    except OverflowError as error:
        raise malformed(f"{shown(path)} does not fit a {dtype.str}") from error
    return scalar


def _element(path: str, claimed: Claim) -> np.generic:
    element: np.generic = _array(path, claimed._replace(shape=[])).flat[0]
    return element


def _picture(path: str, claimed: Claim) -> Picture:
    _shape(path, claimed.shape)
    if not isinstance(claimed.data, bytes | memoryview) or claimed.coding not in ("png", "jpeg"):
        raise malformed(f"{shown(path)} is not the bytes of a PNG or JPEG")
    return Picture(coding="png" if claimed.coding == "png" else "jpeg", data=bytes(claimed.data))


_READERS: dict[str, Callable[[str, Claim], Any]] = {
    "array": _array,
    "columns": _columns,
    "scalar": _scalar,
    "element": _element,
    "picture": _picture,
}


def _shape(path: str, shape: object) -> list[int]:
    if not isinstance(shape, list) or {type(side) for side in shape} - {int} or min(shape, default=0) < 0:
        raise malformed(f"{shown(path)} has a shape that is not a list of counts")
    if len(shape) > _MAX_DIMENSIONS or max(shape, default=0) > _MAX_SIDE:
        raise beyond(f"{shown(path)} has more than {_MAX_DIMENSIONS} dimensions or one above {_MAX_SIDE}")
    return shape


def _dtype(path: str, claimed: Claim) -> np.dtype[Any]:
    if not isinstance(claimed.dtype, str) or claimed.dtype not in _DTYPES:
        raise malformed(f"{shown(path)} has an array type that is not allowed")
    dtype = _DTYPES[claimed.dtype]
    if claimed.kind not in ("", b"", dtype.kind):
        raise malformed(f"{shown(path)} has an array type and a kind that differ")
    return dtype


def _encode(spelling: Spelling, value: object) -> object:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"the wire does not carry {type(value).__name__}")
    text = value.dtype.newbyteorder("<").str
    if text not in _DTYPES:
        raise malformed(f"the wire does not carry arrays of {value.dtype}")
    return written(spelling, value.astype(_DTYPES[text], copy=False))


def shown(path: str) -> str:
    """A field as causes name it."""
    return f"field {path[:80]!r}"


def beyond(cause: str) -> WireError:
    """The error of what passes a limit."""
    return WireError(Code.WIRE_LIMIT, cause, "send what the contract holds, images as uint8 of its sizes")
