"""Deterministic damage to what LeRobot's clients send: other values under the names of a client's own, pickled as it
does; a pickle changed opcode by opcode, so that most of it is still one; and the protobuf message around it.
"""

import pickletools
import struct
from dataclasses import replace
from typing import Any

import numpy as np

from tests.sweeps.mutations.mutate import Chance, plain
from tests.unit.inference.protocols.hostile_pickles import array, bombs, foreign, name, text
from tests.unit.inference.protocols.lerobot_frames import features, message, observation, pickled, raw, setup

_STRANGE = tuple(data for _, data in (*foreign(), *bombs()) if len(data) < 5000)
_LARGE = tuple(data for _, data in bombs() if len(data) >= 5000)
_MINUS_ONE = b"J\xff\xff\xff\xff"
_VALUES = (
    *(b"N", b"\x88", b"\x89", b"]", b"}", b")", b"K\x00", b"K\x01", b"K\x02", b"M\x00\x01", _MINUS_ONE, b"J\0\0\0\x40"),
    *(
        b"\x8a\x08" + struct.pack("<q", 1 << 62),
        b"C\x00",
        b"C\x01x",
        text(""),
        text("volano"),
        text("front"),
        text("f4"),
    ),
    *(
        b"X" + struct.pack("<I", 2000) + b"x" * 2000,
        b"X" + struct.pack("<I", 1 << 31),
        b"B" + struct.pack("<I", 1 << 31),
    ),
    *(b"G" + struct.pack(">d", number) for number in (0.5, 1e308, float("nan"), float("inf"), -1e9)),
    *(name("os", "system"), name("numpy", "dtype"), name("lerobot.async_inference.helpers", "TimedAction")),
    *(array(shape, size)[2:-1] for shape, size in (((4, 6, 3), 72), ((2, 2), 4), ((1 << 40,), 4), ((0,), 0))),
)
"""Each pushes one value."""
_OBJECTS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**62, 0.5, -0.0, 1e30, 1e308, float("nan"), float("inf"), "", " ", "x", "\u202e"),
    *(
        "x" * 3000,
        "x" * 70_000,
        [],
        {},
        (),
        [1, 2],
        (4, 6, 3),
        ["front"],
        {"a": 1},
        {"shape": (1, 2, 3)},
        [[[[[[[1]]]]]]],
    ),
    *(np.float32(0.5), np.float64("nan"), np.int64(7), np.bool_(True), np.zeros(0), np.zeros(3), np.zeros((4, 6, 3))),
    *(np.zeros(side, np.uint8) for side in ((4, 6, 3), (6, 4, 3), (3, 4, 6), (4, 6), (2, 2, 3), (40, 60, 3), ())),
)
_NAMES = ("front", "wrist", "elbow_flex.pos", "task", "observation.state", "observation.images.front", "volano", "")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE")
_NUMBERS = ("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1")


def damaged(sent: bytes, chance: Chance) -> bytes:
    """The message with one or some of these."""
    if chance.random() < 0.1:
        return plain(sent, chance)
    state = sent[1] if sent[:1] == b"\x08" else None
    kind = chance.random()
    pickle = sent[sent.index(b"\x80") :]
    if kind < 0.4:
        pickle = _other(state is None, chance)
    elif kind < 0.42:
        pickle = chance.choice(_LARGE)
    else:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            pickle = _damaged(pickle, chance)
    if state is not None and chance.random() < 0.02:
        state = chance.choice((0, 1, 2, 4, 127))
    written = message(pickle, state)
    return plain(written, chance) if chance.random() < 0.03 else written


def _other(is_setup: bool, chance: Chance) -> bytes:
    """What a client of another mind pickles: one field, feature or thing that it sees is another, new or gone."""
    known = features() if is_setup else raw()
    name = chance.choice((*known, *_NAMES))
    if chance.random() < 0.15:
        known.pop(name, None)
    elif is_setup and chance.random() < 0.7 and name in known:
        known[name] = known[name] | {chance.choice(("shape", "names")): chance.choice(_OBJECTS)}
    else:
        known[name] = chance.choice(_OBJECTS)
    made: Any = setup(lerobot_features=known) if is_setup else observation(observation=known)
    if chance.random() < 0.2:
        made = replace(made, **{chance.choice(list(vars(made))): chance.choice(_OBJECTS)})
    return pickled(made, chance.choice((4, 5)))


def _damaged(pickle: bytes, chance: Chance) -> bytes:
    """One change to one opcode; to any byte where it is no pickle any more."""
    kind = chance.random()
    if kind < 0.05:
        return chance.choice(_STRANGE)
    try:
        found = [(opcode.name, at or 0) for opcode, _, at in pickletools.genops(pickle)]
    except (ValueError, OverflowError):
        return plain(pickle, chance)
    values = [number for number, (called, _) in enumerate(found) if called in (*_TEXTS, *_NUMBERS)]
    number = chance.choice(values) if values and kind < 0.6 else chance.randrange(len(found))
    (called, start), end = found[number], found[number + 1][1] if number + 1 < len(found) else len(pickle)
    step = pickle[start:end]
    if kind < 0.3 and called in _TEXTS:
        step = text(
            chance.choice(("front", "wrist", "gripper.pos", "task", "timestep", "u1", "f8", "O", "<", "\u202e"))
        )
    elif kind < 0.6 and values:
        step = chance.choice(_VALUES)
    elif kind < 0.7:
        step = b""
    elif kind < 0.75:
        step = step * chance.choice((2, 2, 20_000 // len(step)))
    elif kind < 0.85:
        _, other = chance.choice(found)
        step = pickle[other : other + len(step)]
    elif kind < 0.95:
        step += chance.choice(_VALUES)
    else:
        step = plain(step, chance)
    return pickle[:start] + step + pickle[end:]
