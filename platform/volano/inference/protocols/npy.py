"""NumPy's own file format for one array, as GR00T's clients put it into their messages: read and written as pure
functions, without NumPy's reader.

That reader takes headers for Python; here a header is a fixed sentence with three facts in it. What it says is a claim
that `volano.inference.protocols.arrays` checks like every other.
"""

import re
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}
"""Bytes that say how long the header is, by version."""
_MAX_HEADER_BYTES = 1024
_ALIGNMENT = 64
_HEADER = re.compile(
    rb"\{ ?'descr' ?: ?'([|<][a-z][0-9])', 'fortran_order' ?: ?(True|False), 'shape' ?: ?\(([0-9, ]{0,64})\),? ?\} *\n"
)
_SIDES = re.compile(r"|[0-9]{1,9},|[0-9]{1,9}(, ?[0-9]{1,9})+,?")
"""A tuple as Python writes it: of none, of one with its comma, of more."""


@dataclass(frozen=True, kw_only=True)
class Npy:
    """What a blob says of its array, none of it checked against the rest."""

    dtype: str
    shape: list[int]
    by_columns: bool
    """The first side runs fastest in the data."""
    data: bytes


def read_npy(blob: bytes) -> Npy | None:
    """What a blob says; None when it is no .npy of a known version, or its header is not that of a plain array."""
    width = _LENGTH_BYTES.get(blob[6:8]) if blob[:6] == _MAGIC else None
    if width is None or len(blob) < 8 + width:
        return None
    start = 8 + width
    stop = start + int.from_bytes(blob[8:start], "little")
    match = _HEADER.fullmatch(blob[start:stop]) if stop - start <= _MAX_HEADER_BYTES else None
    if match is None or stop > len(blob):
        return None
    sides = match[3].decode()
    if _SIDES.fullmatch(sides) is None:
        return None
    shape = [int(side) for side in sides.split(",") if side.strip()]
    return Npy(dtype=match[1].decode(), shape=shape, by_columns=match[2] == b"True", data=blob[stop:])


def write_npy(array: NDArray[Any]) -> bytes:
    """A blob of version 1.0 that every reader of the format takes, of an array whose type is little-endian already."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    room = -(len(_MAGIC) + 4 + len(header) + 1) % _ALIGNMENT
    line = f"{header}{' ' * room}\n".encode()
    return _MAGIC + b"\x01\x00" + len(line).to_bytes(2, "little") + line + array.tobytes()
