"""NumPy's parts of a pickle: what the names of its rebuilding functions stand for, without calling any of them.

Types, sizes and limits of an array are those of every other wire (`arrays.array_of`). All arrays of a pickle together
hold no more bytes than the pickle: one blob that is named twice cannot become two arrays.
"""

import struct
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volano.inference.protocols.arrays import array_of, beyond
from volano.inference.protocols.spellings import OPENPI, Claim, malformed

_PATH = "array"
_KIND_STATE = (3, None, None, None, -1, -1, 0)
"""What NumPy says of a plain type beside its byte order."""


class Frame:
    """The bytes of a pickle, read from front to back; raises IndexError past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._left_for_arrays = len(data)

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise IndexError("past the end")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """The next whole number, little-endian."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def real(self) -> float:
        """The next double, big-endian as pickles have it."""
        number: float = struct.unpack(">d", self.take(8))[0]
        return number

    def spend(self, count: int) -> None:
        """Count bytes that become an array."""
        self._left_for_arrays -= count
        if self._left_for_arrays < 0:
            raise beyond("the pickle's arrays hold more bytes than it has")


class Kind:
    """A NumPy type: its letter and size, and once completed its byte order."""

    def __init__(self, letters: str) -> None:
        self._letters = letters
        self._order = ""

    def complete(self, frame: Frame, state: object) -> None:
        """Take the state that NumPy pickles with a type."""
        del frame
        order = state[1] if type(state) is tuple and len(state) == 1 + len(_KIND_STATE) else None
        if type(state) is not tuple or state[:1] + state[2:] != _KIND_STATE or order not in ("<", "|") or self._order:
            raise malformed("the pickle has an array type that is not plain and little-endian")
        self._order = order

    @property
    def text(self) -> str:
        """As `arrays` names it; what is no allowed type is refused there."""
        return self._order + self._letters


class Bare:
    """An array or scalar in the making."""

    def __init__(self, made: NDArray[Any] | np.generic | None = None) -> None:
        self._made = made

    def complete(self, frame: Frame, state: object) -> None:
        """Take the state that NumPy pickles with an array: version, shape, type, order, bytes."""
        if self._made is not None or type(state) is not tuple or len(state) != 5 or state[0] != 1:
            raise malformed("the pickle sets an array's state in a way that NumPy does not")
        _, shape, kind, by_columns, data = state
        if type(by_columns) is not bool:
            raise malformed("the pickle does not say in which order an array's bytes are")
        self._made = _array(frame, kind, shape, data, by_columns=by_columns)

    def whole(self) -> NDArray[Any] | np.generic:
        """The finished array; raises WireError when it was never finished."""
        if self._made is None:
            raise malformed("the pickle has an array without content")
        return self._made


def _array(frame: Frame, kind: object, shape: object, data: object, *, by_columns: bool) -> NDArray[Any]:
    if type(kind) is not Kind or type(shape) is not tuple or type(data) is not bytes:
        raise malformed("the pickle has an array without type, shape or bytes")
    frame.spend(len(data))
    form: Literal["columns", "array"] = "columns" if by_columns else "array"
    return array_of(_PATH, Claim(form=form, spelling=OPENPI, data=data, dtype=kind.text, shape=list(shape)))


def _kind(frame: Frame, arguments: tuple[Any, ...]) -> Kind:
    """`dtype('u1', False, True)`."""
    del frame
    if len(arguments) != 3 or type(arguments[0]) is not str or arguments[1:] != (False, True):
        raise malformed("the pickle asks for an array type in a way that NumPy does not")
    return Kind(arguments[0])


def _empty(frame: Frame, arguments: tuple[Any, ...]) -> Bare:
    """`_reconstruct(ndarray, (0,), b'b')`, whose state comes afterwards."""
    del frame
    if len(arguments) != 3 or arguments[1:] != ((0,), b"b"):
        raise malformed("the pickle begins an array in a way that NumPy does not")
    return Bare()


def _from_buffer(frame: Frame, arguments: tuple[Any, ...]) -> Bare:
    """`_frombuffer(bytes, dtype, shape, 'C' or 'F')`."""
    if len(arguments) != 4 or arguments[3] not in ("C", "F"):
        raise malformed("the pickle has an array whose bytes are in no plain order")
    data, kind, shape, order = arguments
    return Bare(_array(frame, kind, shape, data, by_columns=order == "F"))


def _scalar(frame: Frame, arguments: tuple[Any, ...]) -> Bare:
    """`scalar(dtype, bytes)`."""
    if len(arguments) != 2:
        raise malformed("the pickle makes a number in a way that NumPy does not")
    return Bare(_array(frame, arguments[0], (), arguments[1], by_columns=False)[()])


ARRAYS: dict[tuple[str, str], Callable[[Frame, tuple[Any, ...]], Any] | None] = {
    ("numpy", "dtype"): _kind,
    ("numpy", "ndarray"): None,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
}
"""By module and name, of NumPy 1 and 2; None may be named but not called."""
