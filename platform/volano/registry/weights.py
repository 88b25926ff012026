"""The header of a safetensors file, read by nobody but us before any library opens the file.

The header says which bytes belong to which tensor. It is believed only if it is small, names known number types, and
its tensors cover the file from the first byte to the last without gap or overlap.
"""

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from volano.errors import Code, PolicyError

_MAX_HEADER_BYTES = 16 << 20
_MAX_AXES = 16
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, counted from the end of the header."""
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensors by name; raises PolicyError(E-POLICY-001) unless the file is sound from end to end."""
    try:
        with path.open("rb") as stream:
            total = os.fstat(stream.fileno()).st_size
            (length,) = struct.unpack("<Q", stream.read(8))
            if not 0 < length <= min(_MAX_HEADER_BYTES, total - 8):
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(stream.read(length), object_pairs_hook=_unique)
        if not isinstance(header, dict):
            raise TypeError("its header is not a map")
        _check_metadata(header.pop("__metadata__", {}))
        tensors = {name: _tensor(name, entry) for name, entry in header.items()}
        _check_cover(tensors, total - 8 - length)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError) as error:
        raise PolicyError(
            Code.POLICY_FORMAT, f"{path.name} is not a sound safetensors file: {error}", "export the policy again"
        ) from error
    return tensors


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in its header twice")
    return found


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError("its metadata is not text")


def _tensor(name: str, entry: object) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise TypeError(f"tensor {name!r} is not described by type, shape and place")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _BYTES:
        raise ValueError(f"tensor {name!r} has the type {dtype!r}")
    if len(shape) > _MAX_AXES or len(place) != 2:
        raise ValueError(f"tensor {name!r} has too many axes or no place")
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in [*shape, *place]):
        raise ValueError(f"tensor {name!r} has numbers that are not counts")
    start, end = place
    if end - start != math.prod(shape) * _BYTES[dtype]:
        raise ValueError(f"tensor {name!r} does not fit its place")
    return Tensor(dtype=dtype, shape=tuple(shape), start=start, end=end)


def _check_cover(tensors: dict[str, Tensor], size: int) -> None:
    reached = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != reached:
            raise ValueError(f"its tensors leave or share bytes at {reached}")
        reached = tensor.end
    if reached != size:
        raise ValueError(f"its tensors end at byte {reached} of {size}")
