"""Memory that a gateway shares with the replicas of its machine, so that no observation is copied through a socket.

One anonymous file is cut into slots of one size. It has no name that could be left behind: it ends with the last
process that maps it. The gateway alone can write; replicas map it read-only, and it cannot be made shorter under them.
A slot is free again when the last view of it is gone, so that nothing is written over what somebody still reads.
"""

import fcntl
import mmap
import os
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLOT_BYTES = 4 << 20
_SLOTS = 64
"""Pages that were never written take no memory."""
_LEAST_BYTES = 4 << 10
"""A smaller array goes with the words of its question."""
_ALIGNED = 64
_MAX_BYTES = 1 << 32
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_F_SEAL_FUTURE_WRITE = 0x10
"""Not in Python's `fcntl` before 3.13."""


class Slots:
    """The writer's side. Where all slots are taken its users copy, as they do for a machine far away."""

    def __init__(self, count: int = _SLOTS, slot_bytes: int = _SLOT_BYTES) -> None:
        self.descriptor = os.memfd_create("volano-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """What a reader is sent."""
        os.ftruncate(self.descriptor, count * slot_bytes)
        self._memory = np.frombuffer(mmap.mmap(self.descriptor, count * slot_bytes), np.uint8)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS | _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL)
        self._start = _address(self._memory)
        self.slot_bytes = slot_bytes
        self._free = list(range(count))
        self._taken: dict[int, weakref.ref[NDArray[np.uint8]]] = {}
        weakref.finalize(self, os.close, self.descriptor)

    def take(self) -> memoryview | None:
        """A free slot, the one that was used last, or None when there is none; whoever holds a part of it keeps it."""
        if not self._free:
            return None
        number = self._free.pop()
        begin = number * self.slot_bytes
        slot = self._memory[begin : begin + self.slot_bytes]
        free = self._free
        self._taken[number] = weakref.ref(slot, lambda _: free.append(number))
        return slot.data  # views of views in NumPy would not keep `slot`; views of its memory do

    def lay(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, int], tuple[object, ...]]:
        """Where the large ones of these arrays lie, in bytes from the start, and what has to be held for as long as
        they are read there. What lies in a slot already stays; other arrays are copied, if a slot has room for them."""
        places: dict[str, int] = {}
        held: list[object] = []
        room: memoryview | None = None
        used = 0
        for name, array in arrays.items():
            if array.nbytes < _LEAST_BYTES:
                continue
            at = _address(array) - self._start
            if 0 <= at < self._memory.nbytes and array.flags.c_contiguous and array.flags.aligned:
                places[name] = at
                held.append(array)
                continue
            room = self.take() if room is None else room
            if room is not None and used + array.nbytes <= self.slot_bytes:
                copied = np.frombuffer(room, array.dtype, array.size, used).reshape(array.shape)
                copied[...] = array
                places[name] = _address(copied) - self._start
                used += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return places, (room, *held)


def mapped(descriptor: int) -> memoryview:
    """The reader's side of what a writer sent; the descriptor is closed. Raises ValueError for a file that its writer
    could make shorter, or that is no such file, OSError when it cannot be mapped."""
    try:
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("shared memory that can become shorter")
        size = os.fstat(descriptor).st_size
        if not 0 < size <= _MAX_BYTES:
            raise ValueError(f"shared memory of {size} bytes")
        return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
