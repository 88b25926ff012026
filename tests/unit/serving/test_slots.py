"""Memory that a gateway shares: nothing is written over what somebody reads, and nobody else can write."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.slots import Slots, mapped


def test_a_slot_is_free_again_when_its_last_view_is_gone() -> None:
    slots = Slots(count=1, slot_bytes=1 << 16)
    slot = slots.take()
    assert slot is not None
    view = np.frombuffer(slot[4096:8192], np.float32).reshape(32, 32)[3:, ::2]
    del slot
    assert slots.take() is None
    del view
    assert slots.take() is not None


def test_what_lies_in_a_slot_stays_and_everything_else_is_copied_into_one() -> None:
    slots = Slots(count=2, slot_bytes=1 << 16)
    slot = slots.take()
    assert slot is not None
    slot[:6000] = bytes(range(250)) * 24
    arrays: dict[str, NDArray[Any]] = {
        "there": np.frombuffer(slot[:6000], np.uint8).reshape(2, 1000, 3),
        "elsewhere": np.arange(5000, dtype=np.float32)[::2],
        "small": np.zeros(3, np.float32),
    }
    places, held = slots.lay(arrays)
    shared = mapped(os.dup(slots.descriptor))
    assert places.keys() == {"there", "elsewhere"}
    for name, place in places.items():
        array = arrays[name]
        assert np.array_equal(np.frombuffer(shared, array.dtype, array.size, place).reshape(array.shape), array)
    del slot, arrays, array
    assert slots.take() is None
    del held
    assert slots.take() is not None


def test_what_has_no_room_is_not_laid() -> None:
    slots = Slots(count=1, slot_bytes=1 << 13)
    places, held = slots.lay({name: np.zeros(5000, np.uint8) for name in "ab"})
    assert list(places) == ["a"]
    assert slots.lay({"c": np.zeros(5000, np.uint8)})[0] == {}
    del held


def test_readers_can_neither_write_nor_be_cut_off() -> None:
    slots = Slots(count=1, slot_bytes=1 << 13)
    with pytest.raises(PermissionError):
        mmap.mmap(slots.descriptor, 1 << 13)
    with pytest.raises(PermissionError):
        os.ftruncate(slots.descriptor, 0)
    with pytest.raises(PermissionError):
        os.pwrite(slots.descriptor, b"x", 0)
    with pytest.raises(TypeError, match="read-only"):
        mapped(os.dup(slots.descriptor))[0] = 1


def test_only_memory_that_stays_as_long_as_it_is_gets_mapped(tmp_path: Path) -> None:
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 4096)
    with pytest.raises(ValueError, match="shorter"):
        mapped(unsealed)
    (tmp_path / "file").write_bytes(b"x" * 4096)
    with pytest.raises(OSError, match="Invalid argument"):
        mapped(os.open(tmp_path / "file", os.O_RDONLY))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(unsealed)
