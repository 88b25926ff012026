"""Deterministic damage to a frame of msgpack: values of another kind or size, keys that are gone, twice or in another
spelling, lengths that lie, nesting without end, texts that are none, arrays of objects, and bytes that are no msgpack.
"""

import math
import struct
from copy import deepcopy
from typing import Any

import msgpack

from tests.sweeps.mutations.mutate import Chance, plain

_ARRAY = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2]}
_ND = {"nd": True, "type": "<f4", "kind": "", "shape": [2], "data": b"\0" * 8}
_WORDS = (
    *("|O", "|O8", "O", ">f4", "<f4", "<U4", "|V8", "<c8", "|S1", "float32", "<u8", "<f16", "f", "V", "infer", "reset"),
    *("ping", "kill", "hello", "action", "observation", "png", "jpeg", "raw", "gif", "", " ", "\x00", "\u202e", "nan"),
)
_SHAPES: tuple[Any, ...] = (
    *([], [0], [2], [3], [-1], [-1, -2], [1 << 40], [1 << 62, 4], [0, 1 << 40], [1 << 16] * 4, [1, 1, 1, 1, 1, 2]),
    *([True, 2], [2.0], ["2"], 2, None, [None]),
)
_PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 0.5, 1e308, -0.0, 90.0),
    *(float("nan"), float("inf"), float("-inf"), "x" * 2000, "x" * 70_000, b"", b"\x80\x04.", b"x" * 100, [], {}),
    *([[]], [1, 2], {"a": 1}, {b"a": 1}, list(range(600)), [[0] * 30] * 30, {"volano": 1}, {"__image__": True}),
)
_RAW = (
    *(
        b"\xa4\xff\xfe\xc3\x28",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ),
    *(
        b"\xc1",
        b"\xd4\x05x",
        b"\xd6\xff\0\0\0\0",
        b"\xc9\0\0\0\x02\x05xx",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"",
        b"\x81\x91\x01\x02",
    ),
    *(b"\x81\xc0\xc0", b"\x82\xa1a\x01\xa1a\x02", b"\x81\x80\x01", b"\xcb\x7f\xf8\0\0\0\0\0\x01"),
)
_DEPTHS = (7, 9, 60, 600, 5000)
_DATA = ("data", b"data")
_GONE = object()


class _Bytes(bytes):
    """Bytes that stand in the frame as they are."""


def damaged(frame: bytes, chance: Chance) -> bytes:
    """The frame with one or some of these."""
    if chance.random() < 0.25:
        return plain(frame, chance)
    message = msgpack.unpackb(frame, strict_map_key=False)
    places = [place for place in _places(message, (), deep=chance.random() < 0.4) if place]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place = chance.choice(places)
        _set(message, place, chance)
    written = _written(message, chance.random() < 0.1, chance)
    return plain(written, chance) if chance.random() < 0.05 else written


def _places(value: Any, place: tuple[Any, ...], *, deep: bool) -> list[tuple[Any, ...]]:
    """Where something stands; `deep`: within arrays as well."""
    found = [place]
    if isinstance(value, dict) and (deep or not _is_array(value)):
        for key, item in value.items():
            found += _places(item, (*place, key), deep=deep)
    elif isinstance(value, list):
        for number, item in enumerate(value[:8]):
            found += _places(item, (*place, number), deep=deep)
    return found


def _set(message: Any, place: tuple[Any, ...], chance: Chance) -> None:
    """Put something else at a place, if an earlier change left it there."""
    inside = message
    for step in place[:-1]:
        if not _holds(inside, step):
            return
        inside = inside[step]
    last = place[-1]
    if not _holds(inside, last):
        return
    value = _other(inside[last], chance)
    if value is not _GONE:
        inside[last] = value
        return
    del inside[last]
    if isinstance(inside, dict) and chance.random() < 0.5:
        inside[chance.choice((*_WORDS, last.decode() if isinstance(last, bytes) else str(last).encode(), 1))] = 1


def _is_array(value: dict[Any, Any]) -> bool:
    """Whether a map spells an array; in GR00T's messages `data` is a map of many."""
    return any(isinstance(value.get(name), bytes) for name in _DATA)


def _holds(inside: Any, step: Any) -> bool:
    if isinstance(inside, dict):
        return step in inside
    return isinstance(inside, list) and isinstance(step, int) and step < len(inside)


def _other(value: Any, chance: Chance) -> Any:
    kind = chance.random()
    if isinstance(value, dict) and kind < 0.5 and _is_array(value):
        return _honest(value, chance)
    if kind < 0.1:
        return _GONE
    if kind < 0.16:
        return _Bytes(chance.choice(_RAW))
    if kind < 0.2:
        depth = chance.choice(_DEPTHS)
        return _Bytes(chance.choice((b"\x91", b"\x81\xa1a")) * depth + b"\xc0")
    if kind < 0.35:
        return _array(chance)
    if isinstance(value, bytes) and kind < 0.9:
        return plain(value, chance) if value else b"\xff"
    if isinstance(value, list) and kind < 0.8:
        return deepcopy(chance.choice(_SHAPES))
    if isinstance(value, str) and kind < 0.85:
        return chance.choice(_WORDS)
    return deepcopy(chance.choice(_PLAIN))


def _honest(value: dict[Any, Any], chance: Chance) -> dict[Any, Any]:
    """Another array than a map spells, in the same spelling and without a lie."""
    dtype = chance.choice(("|b1", "|u1", "|i1", "<u2", "<i4", "<i8", "<f2", "<f4", "<f8"))
    shape = chance.choice(
        ([4, 6, 3], [6, 4, 3], [3, 4, 6], [1, 4, 6, 3], [4, 6], [8], [7], [1], [1, 8], [], [0], [2, 9])
    )
    size = math.prod(shape) * int(dtype[2:])
    data = chance.choice((bytes(size), b"\x01" * size, b"\xff" * size if dtype != "|b1" else bytes(size)))
    new = {"data": data, "dtype": dtype, "type": dtype, "shape": shape, "kind": dtype[1]}
    named = new | {name.encode(): field for name, field in new.items()}
    return {name: named.get(name, field) if field not in ("", b"") else field for name, field in value.items()}


def _array(chance: Chance) -> dict[Any, Any]:
    """An array in one of the spellings, with a lie."""
    fields = dict(chance.choice((_ARRAY, _ND, {"nd": False, "type": "<f4", "data": b"\0" * 4})))
    fields |= {"dtype" if "dtype" in fields else "type": chance.choice(_WORDS)} if chance.random() < 0.5 else {}
    fields |= {"shape": deepcopy(chance.choice(_SHAPES))} if chance.random() < 0.5 else {}
    fields |= {"data": struct.pack("<2f", *chance.choices((0.0, 1e30, math.nan), k=2))} if chance.random() < 0.3 else {}
    return fields if chance.random() < 0.5 else {name.encode(): field for name, field in fields.items()}


def _written(value: Any, twice: bool, chance: Chance) -> bytes:
    """A message as msgpack, `twice` with a key of some map once more, now and then with a length that lies."""
    if isinstance(value, _Bytes):
        return bytes(value)
    lie = chance.choice((-1, 1, 1000)) if chance.random() < 0.002 else 0
    if isinstance(value, dict):
        pairs = list(value.items())
        if twice and pairs:
            pairs.append(chance.choice(pairs))
        head = struct.pack(">BI", 0xDF, max(0, len(pairs) + lie))
        return head + b"".join(_written(part, twice, chance) for pair in pairs for part in pair)
    if isinstance(value, list):
        head = struct.pack(">BI", 0xDD, max(0, len(value) + lie))
        return head + b"".join(_written(item, twice, chance) for item in value)
    return bytes(msgpack.packb(value))
