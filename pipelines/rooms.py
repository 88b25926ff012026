"""Memory that a worker shares with its decoders on the same machine, so that no picture is copied on its way to a step.

The worker makes an anonymous file of rooms, each for the pictures of a step. A decoder that finds it (same machine,
same user) locks it, takes free rooms and writes them where the worker reads them: only the number of a room goes
through Ray. The file belongs to the worker, so what was handed over outlives a decoder; the lock ends with its decoder,
and the next one takes back what that one was writing. Whoever gets no room sends bytes, as from another machine.

What a room is used for stands in the file: 0 free, -1 being written, and a step + 1 once it waits to be shown. So does
the step that the worker needs next. A decoder waits for a room only while that step is in an earlier span, or was
handed over by itself; and not when it does a span again, since Ray may give what comes then to nobody before the span
is done. What is brought again for an earlier step is given back.
"""

import fcntl
import mmap
import os
import secrets
import stat
import time
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NAME = "volano-pictures"
_TOKEN_BYTES = 32
_PAGE = 4096
_FREE, _WRITTEN = 0, -1
_NEVER = 1 << 62
_PATIENCE_S, _LOOK_S = 30.0, 0.002
"""How long a decoder waits for a worker that stands still, before it goes on by bytes."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker's rooms are, as it tells its decoders."""

    process: int
    descriptor: int
    token: bytes
    """The file begins with it: on another machine the same number may be another process."""
    rooms: int
    room_bytes: int

    @property
    def first_byte(self) -> int:
        """Of the first room; before it stand the token, the step needed next and what each room is used for."""
        return _up(_TOKEN_BYTES + 8 + 8 * self.rooms)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.first_byte + self.rooms * self.room_bytes


class Rooms:
    """The worker's side; it ends when the last picture in it is gone."""

    def __init__(self, rooms: int, room_bytes: int) -> None:
        descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        self.place = Place(
            process=os.getpid(),
            descriptor=descriptor,
            token=secrets.token_bytes(_TOKEN_BYTES),
            rooms=rooms,
            room_bytes=_up(room_bytes),
        )
        os.ftruncate(descriptor, self.place.size)
        os.pwrite(descriptor, self.place.token, 0)
        self._next, self._used, self._memory = _mapped(descriptor, self.place)
        self._shown: dict[int, weakref.ref[NDArray[np.uint8]]] = {}
        self._left: deque[int] = deque()
        """Rooms whose last view is gone: noted by whatever thread let go of it, and freed by the worker's."""

    def begin(self, step: int) -> None:
        """The worker needs this step: free what nobody looks at any more, and what waits for an earlier step, whose
        decoder died and which was brought twice."""
        self._next[0] = step
        while self._left:
            number = self._left.popleft()
            del self._shown[number]
            self._used[number] = _FREE
        for number in np.flatnonzero((self._used > _FREE) & (self._used < step + 1)).tolist():
            if number not in self._shown:
                self._used[number] = _FREE

    def end(self, step: int) -> None:
        """The worker has this step, from wherever it came."""
        self._next[0] = step + 1

    def leave(self) -> None:
        """The worker needs no step any more: nobody waits for it."""
        self._next[0] = _NEVER

    def pictures(self, number: int, step: int, size: int) -> NDArray[np.uint8] | None:
        """What a decoder wrote for a step, read-only, (size,); the room is free at the step after the last view of it
        is gone. None when it holds something else."""
        if not 0 <= number < self.place.rooms or not 0 < size <= self.place.room_bytes:
            return None
        if self._used[number] != step + 1 or number in self._shown:
            return None
        begin, left = number * self.place.room_bytes, self._left
        room = self._memory[begin : begin + size]
        room.flags.writeable = False
        self._shown[number] = weakref.ref(room, lambda _: left.append(number))
        return np.frombuffer(room.data, np.uint8)  # views of views in NumPy would not keep `room`; of its memory do


class Writer:
    """A decoder's side."""

    def __init__(self, descriptor: int, place: Place, part: int = 0) -> None:
        """`descriptor` is open, locked, and from now on this object's; `part` is the position of its decoder."""
        weakref.finalize(self, os.close, descriptor)
        self._place, self._part = place, part
        self._next, self._used, self._memory = _mapped(descriptor, place)
        self._start = _address(self._memory)
        self._handed_over: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """A span begins: what was being written of another one is nobody's."""
        self._used[self._used == _WRITTEN] = _FREE

    def take(self, size: int, *, span: int | None) -> NDArray[np.uint8] | None:
        """A free room of so many bytes; None when there is none. In a span that is done for the first time, and begins
        at step `span`, wait for one for as long as the worker goes on by itself."""
        if size > self._place.room_bytes or not size:
            return None
        at, left = int(self._next[0]), _PATIENCE_S
        while not (free := np.flatnonzero(self._used == _FREE)).size:
            if not self._goes_on(span) or left <= 0:
                return None
            time.sleep(_LOOK_S)
            before, at = at, int(self._next[0])
            left = _PATIENCE_S if at != before else left - _LOOK_S
        number = int(free[0])
        self._used[number] = _WRITTEN
        self._handed_over.discard(number)
        begin = number * self._place.room_bytes
        return self._memory[begin : begin + size]

    def _goes_on(self, span: int | None) -> bool:
        """Whether the worker needs nothing next that is still to come from here."""
        if span is None:
            return False
        return bool(self._next[0] < span or (self._used[list(self._handed_over)] == self._next[0] + 1).any())

    def owns(self, pictures: NDArray[np.uint8]) -> bool:
        """Whether they are in a room of these."""
        return bool(pictures.size) and 0 <= self._number(pictures) < self._place.rooms

    def hand_over(self, pictures: NDArray[np.uint8], step: int) -> int:
        """The number of the room that a step's pictures are in, over all decoders' rooms: it is the worker's now, or
        free when the worker has been there."""
        number = self._number(pictures)
        self._used[number] = step + 1 if step >= self._next[0] else _FREE
        self._handed_over.add(number)
        return self._part * self._place.rooms + number

    def _number(self, pictures: NDArray[np.uint8]) -> int:
        return (_address(pictures) - self._start) // self._place.room_bytes


def open_rooms(places: tuple[Place, ...]) -> Writer | None:
    """The first of them that is on this machine and that no other decoder writes; None when there is none."""
    for part, place in enumerate(places):
        path = f"/proc/{place.process}/fd/{place.descriptor}"
        try:
            if not os.readlink(path).startswith(f"/memfd:{_NAME}"):
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        if not _is_ours(descriptor, place):
            os.close(descriptor)
            continue
        try:
            return Writer(descriptor, place, part)
        except OSError:  # it cannot be mapped here
            return None
    return None


def _is_ours(descriptor: int, place: Place) -> bool:
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != place.size:
            return False
        if os.pread(descriptor, _TOKEN_BYTES, 0) != place.token:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _mapped(descriptor: int, place: Place) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """The step needed next, what the rooms are used for, and the rooms."""
    mapping = mmap.mmap(descriptor, place.size)
    with suppress(OSError):  # large pages are a third of what a new room costs, where the kernel gives any
        mapping.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(mapping, np.uint8)
    numbers = memory[_TOKEN_BYTES : _TOKEN_BYTES + 8 + 8 * place.rooms].view(np.int64)
    return numbers[:1], numbers[1:], memory[place.first_byte :]


def _up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _address(array: NDArray[np.uint8]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
