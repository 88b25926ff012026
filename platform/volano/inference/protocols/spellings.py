"""The ways in which robots' clients spell an array, a single number or a compressed image as a map of msgpack.

openpi's are maps of bytes keys with `__ndarray__`; vla-eval has the same keys as texts, and `__image__`; msgpack-numpy
and vLLM-Omni write `nd`, the latter with the kind of its type. GR00T's clients put a .npy blob into a map, or, in JSON,
base64 as `json-numpy` does. A `Claim` is what such a map says of itself: nothing of
it is checked here, and `volano.inference.protocols.arrays` believes none of it.
"""

import base64
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, WireError
from volano.inference.protocols.npy import read_npy, write_npy


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """One way; a client reads the way in which it writes."""

    marks: Literal["__ndarray__", "nd", "__ndarray_class__", "__numpy__"]
    keys: Literal["bytes", "text"]
    kinds: bool = False
    """With `nd`: the kind of the type stands beside it."""


OPENPI = Spelling(marks="__ndarray__", keys="bytes")
VLA_EVAL = Spelling(marks="__ndarray__", keys="text")
MSGPACK_NUMPY = Spelling(marks="nd", keys="bytes")
NPY = Spelling(marks="__ndarray_class__", keys="text")
JSON_NUMPY = Spelling(marks="__numpy__", keys="text")
VLLM = Spelling(marks="nd", keys="bytes", kinds=True)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as a file of its own, not decoded yet."""

    coding: Literal["png", "jpeg"]
    data: bytes


class Claim(NamedTuple):
    """What a map says that it is."""

    form: Literal["array", "columns", "scalar", "element", "picture"]
    """`columns`: an array whose first side runs fastest; `scalar`: a number of msgpack's own; `element`: one number's
    bytes."""
    spelling: Spelling
    data: object
    dtype: object = None
    shape: object = None
    kind: object = ""
    coding: object = None


def claim(value: dict[Any, Any]) -> Claim | None:
    """What a map claims to be; None for a map that is only a map. Raises WireError(E-WIRE-001) for one with the mark of
    an array and other fields than one has."""
    for keys, names in (("bytes", _BYTES), ("text", _TEXTS)):
        if names["__ndarray__"] in value or (keys == "bytes" and names["__npgeneric__"] in value):
            return _openpi(value, names, OPENPI if keys == "bytes" else VLA_EVAL)
        if names["nd"] in value and (keys == "bytes" or _is_nd(value, names)):
            return _nd(value, names, keys)
    for mark, reader in (("__image__", _picture), (NPY.marks, _npy), (JSON_NUMPY.marks, _json_numpy)):
        if mark in value:
            return reader(value)
    return None


def written(spelling: Spelling, array: NDArray[Any] | np.generic) -> object:
    """An array or number in a spelling; its type is little-endian already."""
    names = _BYTES if spelling.keys == "bytes" else _TEXTS
    dtype, is_array = array.dtype.str, isinstance(array, np.ndarray)
    if spelling == VLA_EVAL and not is_array:
        return array.item()
    if spelling == NPY:
        return {NPY.marks: True, "as_npy": write_npy(np.asarray(array))}
    if spelling == JSON_NUMPY:
        return {
            JSON_NUMPY.marks: base64.b64encode(array.tobytes()).decode(),
            "dtype": dtype,
            "shape": list(array.shape),
        }
    if spelling.marks == "nd":
        kind: str | bytes = array.dtype.kind if spelling.kinds else "" if spelling.keys == "text" else b""
        fields: dict[str, object] = {"nd": is_array, "type": dtype}
        fields |= {"kind": kind} if is_array or spelling.kinds else {}
        fields |= {"shape": list(array.shape)} if is_array else {}
        fields["data"] = array.tobytes()
    elif is_array:
        fields = {"__ndarray__": True, "data": array.tobytes(), "dtype": dtype, "shape": list(array.shape)}
    else:
        fields = {"__npgeneric__": True, "data": array.item(), "dtype": dtype}
    return {names[name]: field for name, field in fields.items()}


def malformed(cause: str) -> WireError:
    """The error of bytes that are no message."""
    return WireError(Code.WIRE_FRAME, cause, "send maps and arrays as the protocol has them, little-endian")


_FIELDS = ("__ndarray__", "__npgeneric__", "nd", "data", "dtype", "shape", "type", "kind")
_BYTES: dict[str, Any] = {name: name.encode() for name in _FIELDS}
_TEXTS: dict[str, Any] = {name: name for name in _FIELDS}


def _openpi(value: dict[Any, Any], names: dict[str, Any], spelling: Spelling) -> Claim:
    is_array = names["__ndarray__"] in value
    mark = names["__ndarray__" if is_array else "__npgeneric__"]
    expected = (
        {mark, names["data"], names["dtype"], names["shape"]} if is_array else {mark, names["data"], names["dtype"]}
    )
    if value.keys() != expected or value[mark] is not True:
        raise malformed("an array or number is not well-formed")
    return Claim(
        form="array" if is_array else "scalar",
        spelling=spelling,
        data=value[names["data"]],
        dtype=value[names["dtype"]],
        shape=value.get(names["shape"]),
    )


def _nd(value: dict[Any, Any], names: dict[str, Any], keys: str) -> Claim:
    if not _is_nd(value, names):
        raise malformed("an array or number is not well-formed")
    kind = value.get(names["kind"], "")
    known = MSGPACK_NUMPY if kind in ("", b"") else VLLM
    return Claim(
        form="array" if value[names["nd"]] else "element",
        spelling=known if keys == "bytes" else replace(known, keys="text"),
        data=value[names["data"]],
        dtype=value[names["type"]],
        shape=value.get(names["shape"]),
        kind=kind,
    )


def _is_nd(value: dict[Any, Any], names: dict[str, Any]) -> bool:
    """Whether a map with `nd`, which is also a word, has what an array or a number has."""
    fields, least = set(value), {names[name] for name in ("nd", "type", "data")}
    if value[names["nd"]] is True:
        return fields == least | {names["kind"], names["shape"]}
    return value[names["nd"]] is False and fields - {names["kind"]} == least


def _picture(value: dict[Any, Any]) -> Claim:
    raw = value.get("format") == "raw"
    fields = {"__image__", "format", "data", "shape"} | ({"dtype"} if raw else set())
    if set(value) != fields or value["__image__"] is not True:
        raise malformed("an image is not well-formed")
    return Claim(
        form="array" if raw else "picture",
        spelling=VLA_EVAL,
        data=value["data"],
        dtype=value.get("dtype"),
        shape=value["shape"],
        coding=value["format"],
    )


def _npy(value: dict[Any, Any]) -> Claim:
    blob = value.get("as_npy")
    found = read_npy(bytes(blob)) if isinstance(blob, bytes | memoryview) else None
    if set(value) != {NPY.marks, "as_npy"} or value[NPY.marks] is not True or found is None:
        raise malformed("an array is no well-formed .npy of plain numbers")
    form: Literal["array", "columns"] = "columns" if found.by_columns else "array"
    return Claim(form=form, spelling=NPY, data=found.data, dtype=found.dtype, shape=found.shape)


def _json_numpy(value: dict[Any, Any]) -> Claim:
    text = value[JSON_NUMPY.marks]
    if set(value) != {JSON_NUMPY.marks, "dtype", "shape"} or not isinstance(text, str):
        raise malformed("an array or number is not well-formed")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise malformed("an array is not base64") from error
    return Claim(form="array", spelling=JSON_NUMPY, data=data, dtype=value["dtype"], shape=value["shape"])
