"""Pickles that nobody sends in good faith: some that Python's own unpickler would carry out, some that name or build
what no client needs, some that would become large."""

import copyreg
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TIMED = ("lerobot.async_inference.helpers", "TimedObservation")
_PROTOCOL_4 = b"\x80\x04"


def text(value: str) -> bytes:
    """A short text."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, attribute: str) -> bytes:
    """Something by its name."""
    return text(module) + text(attribute) + b"\x93"


class Gadget:
    """Pickles as whatever call it is told."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


class WithState:
    """Its state is set by a method of its own."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __getstate__(self) -> Any:
        return {"x": 1}


def acting(canary: Path) -> Iterator[tuple[str, bytes]]:
    """What makes the file `canary` when Python unpickles it."""
    touch = f"touch {canary}"
    opened = f"open({str(canary)!r}, 'w')"
    for protocol in range(6):
        yield f"os.system, {protocol}", pickle.dumps(Gadget(os.system, (touch,)), protocol)
        yield f"eval, {protocol}", pickle.dumps(Gadget(eval, (opened,)), protocol)
        yield f"within, {protocol}", pickle.dumps([1, {"x": Gadget(exec, (opened,))}], protocol)
    argument = text(touch) + b"\x85R."
    yield "STACK_GLOBAL", _PROTOCOL_4 + name("os", "system") + argument
    yield (
        "a name from the memo",
        _PROTOCOL_4 + text("os") + b"\x940" + text("system") + b"\x940h\x00h\x01\x93" + argument,
    )
    backwards = b"(" + text("system") + b"\x94" + text("os") + b"\x94h\x01h\x00\x93" + text(touch) + b"\x85Rt."
    yield "a name from the memo, backwards", _PROTOCOL_4 + backwards
    yield "GLOBAL", b"cos\nsystem\n(S'" + touch.encode() + b"'\ntR."
    yield "INST", b"(S'" + touch.encode() + b"'\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nS'" + touch.encode() + b"'\no."
    yield "dotted attribute", _PROTOCOL_4 + name("subprocess", "os.system") + argument


def foreign() -> Iterator[tuple[str, bytes]]:
    """What names, builds or leaves behind what may not come from outside."""
    yield "dotted attribute of ours", _PROTOCOL_4 + name("numpy", "_core.multiarray._reconstruct") + b")R."
    yield "attribute of a class", _PROTOCOL_4 + name("numpy", "ndarray.tofile") + text("x") + b"\x85R."
    yield "module cut elsewhere", _PROTOCOL_4 + name("numpy._core", "multiarray._reconstruct") + b")R."
    yield (
        "module of a record cut elsewhere",
        _PROTOCOL_4 + name("lerobot.async_inference", "helpers.TimedObservation") + b")\x81.",
    )
    yield "GLOBAL of ours", _PROTOCOL_4 + b"cnumpy\ndtype\n."
    for code, size in ((b"\x82", 1), (b"\x83", 2), (b"\x84", 4)):
        yield f"extension of {size} bytes", _PROTOCOL_4 + code + b"\x01" + bytes(size - 1) + b")R."
    yield "PERSID", b"Pos.system\n."
    yield "BINPERSID", _PROTOCOL_4 + text("os.system") + b"Q."
    yield "NEXT_BUFFER", b"\x80\x05\x97."
    yield "READONLY_BUFFER", b"\x80\x05\x96" + struct.pack("<Q", 1) + b"x\x98."
    yield "NEWOBJ of an array", _PROTOCOL_4 + name("numpy", "ndarray") + b"K\xff\x85\x81."
    yield "NEWOBJ_EX", _PROTOCOL_4 + name("numpy", "ndarray") + b")}\x92."
    yield "NEWOBJ with arguments", _PROTOCOL_4 + name(*TIMED) + b"K\x01\x85\x81."
    yield "Popen", pickle.dumps(Gadget(subprocess.Popen, (["true"],)))
    yield "a state by its own method", pickle.dumps(WithState())
    yield "copyreg", pickle.dumps(Gadget(copyreg._reconstructor, (object, object, None)))  # type: ignore[attr-defined]
    values: dict[str, Any] = {
        "an ordered map": OrderedDict(a=1),
        "a set": {1, 2},
        "a frozen set": frozenset((1, 2)),
        "a complex number": 1j,
        "a class": np.ndarray,
        "a type of arrays": np.dtype("u1"),
        "bytes": b"x",
        "a map with a number for key": {1: 2},
        "a map with a tuple for key": {("x",): 2},
        "objects in an array": np.array([{}], object),
        "texts in an array": np.array(["x"]),
        "a structure in an array": np.zeros(1, [("a", "u1")]),
        "big-endian": np.zeros(1, ">f4"),
        "dates": np.zeros(1, "M8[s]"),
        "complex numbers": np.zeros(1, "c8"),
        "a generator": np.random.default_rng(0),
        "a date": np.datetime64(0, "s"),
    }
    yield from ((label, pickle.dumps(value)) for label, value in values.items())
    yield "a bytearray", pickle.dumps(bytearray(b"x"), 5)
    yield "BUILD of a list", _PROTOCOL_4 + b"]}b."
    yield "BUILD of a class", _PROTOCOL_4 + name("numpy", "ndarray") + b"}b."
    yield "BUILD of a record's class", _PROTOCOL_4 + name(*TIMED) + b"}b."
    yield "BUILD of slots", _PROTOCOL_4 + name(*TIMED) + b")\x81N}\x86b."
    within = name(*TIMED) + b")\x81}(" + text("timestep") + name("os", "system") + text("true") + b"\x85Rub."
    yield "a call within a record", _PROTOCOL_4 + within
    yield "a record without fields", _PROTOCOL_4 + name(*TIMED) + b")\x81."
    yield "a record with __class__", _PROTOCOL_4 + name(*TIMED) + b")\x81}" + text("__class__") + b"Nsb."
    yield "REDUCE of a record", _PROTOCOL_4 + name(*TIMED) + b")R."
    yield "REDUCE of an array's class", _PROTOCOL_4 + name("numpy", "ndarray") + b"K\xff\x85\x85R."
    yield "REDUCE of a text", _PROTOCOL_4 + text("os.system") + b")R."
    yield "an array without state", array((1,), 1).partition(b"(K\x01")[0] + b"."
    yield "an array with two states", array((1,), 1)[:-1] + array((1,), 1)[array((1,), 1).index(b"(K\x01") :]
    yield "a name of bytes", _PROTOCOL_4 + b"C\x02osC\x06system\x93."
    yield "a tensor", _PROTOCOL_4 + name("torch._utils", "_rebuild_tensor_v2") + b")R."
    yield "torch.load", _PROTOCOL_4 + name("torch.storage", "_load_from_bytes") + b"C\x00\x85R."
    yield "nothing", b""
    yield "no end", _PROTOCOL_4 + b"N"
    yield "two values", _PROTOCOL_4 + b"NN."
    yield "more after the end", _PROTOCOL_4 + b"N.N."
    yield "an open mark", _PROTOCOL_4 + b"(N."
    yield "from an empty stack", _PROTOCOL_4 + b"a."
    yield "from an empty memo", _PROTOCOL_4 + b"h\x00."
    yield "a torn text", _PROTOCOL_4 + b"\x8c\x02\xc3\x28."


def array(shape: tuple[int, ...], size: int, kind: str = "u1", order: str = "|") -> bytes:
    """An array that says `shape` and has `size` bytes, each 1."""
    minus_one = b"J\xff\xff\xff\xff"
    dtype = name("numpy", "dtype") + text(kind) + b"\x89\x88\x87R"
    dtype += b"(K\x03" + text(order) + b"NNN" + minus_one * 2 + b"K\x00tb"
    sides = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape) + b"t"
    begin = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return _PROTOCOL_4 + begin + b"(K\x01" + sides + dtype + b"\x89" + blob(size) + b"tb."


def blob(size: int) -> bytes:
    """Bytes of 1."""
    return b"B" + struct.pack("<I", size) + b"\x01" * size


def bombs() -> Iterator[tuple[str, bytes]]:
    """What is small and would not stay so."""
    yield "steps", _PROTOCOL_4 + b"](" + b"N" * (1 << 15) + b"e."
    yield "marks", _PROTOCOL_4 + b"(" * (1 << 15)
    yield "lists deep", _PROTOCOL_4 + b"]" * 100 + b"a" * 99 + b"."
    yield "tuples deep", _PROTOCOL_4 + b")" + b"\x85" * 10_000 + b"."
    yield "a list within itself", _PROTOCOL_4 + b"]\x94h\x00a."
    yield "a text", _PROTOCOL_4 + b"X" + struct.pack("<I", 1 << 17) + b"x" * (1 << 17) + b"."
    yield "a number", _PROTOCOL_4 + b"\x8a\xff" + b"\x7f" * 255 + b"."
    one, data = array((1000,), 1000)[2:-1], blob(1000)
    yield (
        "one blob as two arrays",
        _PROTOCOL_4 + b"](" + one.replace(data, data + b"\x94") + one.replace(data, b"h\x00") * 2 + b"e.",
    )
    laugh = b"](" + text("ha") * 10 + b"e\x94"
    levels = b"".join(b"](" + (b"h" + bytes([level])) * 10 + b"e\x94" for level in range(5))
    yield "a million laughs", _PROTOCOL_4 + b"(" + laugh + levels + b"t."
    yield "too large", _PROTOCOL_4 + blob(1 << 20) + b"."
