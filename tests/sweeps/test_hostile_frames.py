"""A hundred thousand hostile frames, in every protocol that robots speak here: each is read, or refused by a code of
the wire or the contract. Nothing else is ever raised, and no frame takes memory that stays.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from serving import dialects
from serving.listeners import LISTENERS
from tests.sweeps.conftest import SWEPT
from tests.sweeps.mutations.inputs import chance_of, told
from tests.sweeps.mutations.mutate_msgpack import damaged
from tests.sweeps.speakers import SPEAKERS, Speaker
from tests.unit.inference.protocols import wires
from volano.errors import VolanoError
from volano.inference.protocols.apart import apart
from volano.inference.protocols.arrays import pack, read
from volano.inference.protocols.spellings import MSGPACK_NUMPY, NPY, OPENPI, VLA_EVAL, Spelling

pytestmark = pytest.mark.slow
_FRAMES = 14_300
"""Of each protocol."""
_REACHED = {"E-WIRE-001": 2800, "E-WIRE-004": 280, "E-CONTRACT-001": 570, "observed": 280}
"""What must have happened at least so often, or the frames prove nothing."""
_MAY_END = ("E-WIRE-", "E-CONTRACT-", "observed", "said")
_ROOM_BYTES = 64 << 20
"""For what an allocator keeps for itself."""
_VIEWS = 2_000
"""Frames of each spelling that are read twice."""
_TWIN = "gr00t-n1.5"
"""Reads as `gr00t` does, and answers otherwise."""
_WARM = 500
"""Frames after which a process has what it needs."""


def outcome(speaker: Speaker, number: int) -> str:
    """What becomes of one hostile frame; the number makes it again."""
    chance = chance_of(speaker.name, number)
    frame = speaker.damage(chance.choice(speaker.valid), chance)
    sent = frame if chance.random() > 0.005 else frame.decode(errors="replace")
    try:
        return speaker.read(sent)
    except VolanoError as error:
        return str(error.code)
    except Exception as error:
        raise AssertionError(f"{speaker.name} {number}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("spelling", [OPENPI, VLA_EVAL, MSGPACK_NUMPY, NPY], ids=lambda one: f"{one.marks} {one.keys}")
def test_a_view_is_read_and_refused_as_its_bytes_are(spelling: Spelling) -> None:
    """Large arrays are taken out of views before they are unpacked, whoever sent them."""
    images = {name: np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3) for name in ("ego", "wrist")}
    frame = pack({**images, "state": np.zeros(7, np.float32), "more": {"prompt": "lift", "wide": b"".hex()}}, spelling)
    taken = 0
    for number in range(_VIEWS):
        chance = chance_of(spelling.marks, number)
        hostile = damaged(frame, chance)
        taken += apart(memoryview(hostile)) is not None
        assert _said(hostile) == _said(memoryview(hostile)), number
    assert taken > _VIEWS / 10


def _said(frame: bytes | memoryview) -> object:
    try:
        found = read(frame)
    except VolanoError as error:
        return error.code
    return pack(found.fields)


def memory() -> int:
    """Bytes that this process has now."""
    return int(psutil.Process().memory_info().rss)


def test_whatever_is_spoken_is_attacked() -> None:
    assert wires.DIALECTS.keys() == dialects.DIALECTS.keys()
    assert {speaker.name for speaker in SPEAKERS} == (dialects.DIALECTS.keys() | LISTENERS.keys()) - {_TWIN}
    assert _FRAMES * len(SPEAKERS) >= 100_000


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
def test_every_valid_frame_is_read(speaker: Speaker) -> None:
    assert {speaker.read(frame) for frame in speaker.valid} <= {"observed", "said"}


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
def test_hostile_frames_are_read_or_refused_with_a_code(
    speaker: Speaker, record_property: Callable[[str, object], None]
) -> None:
    seen = Counter(outcome(speaker, number) for number in range(_WARM))
    before = memory()
    seen += Counter(outcome(speaker, number) for number in range(_WARM, _FRAMES))
    assert memory() - before < _ROOM_BYTES
    assert {name for name in seen if not name.startswith(_MAY_END)} == set(), seen
    assert {name for name, least in _REACHED.items() if seen[name] < least} == set(), seen
    record_property(SWEPT, told(seen, _FRAMES))
