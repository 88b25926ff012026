"""What a robot's connection receives: large frames are read to where they stay, all else is `websockets`' business.

An observation is one large binary frame. It is read into a slot of the memory that replicas share (`serving.slots`),
unmasked there, and handed over in the order of the connection's messages; it costs no copy. Every other byte goes to
`websockets` as it came: the handshake, texts, control frames, fragments, what breaks the protocol or a limit, and large
frames when no slot is free. So this reader refuses nothing and answers nothing.
"""

import asyncio
import secrets
from itertools import count
from typing import NamedTuple

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from serving.slots import Slots
from volano.inference.protocols.dialect import Frame as Message

_LEAST_BYTES = 4 << 10
"""Of a large frame's payload."""
_MESSAGE = 0x80 | Opcode.BINARY
"""First byte of a frame that is a whole message, without extensions."""
_MASK_BYTES = 4
_READ_AT = 2
"""Where a read begins in a slot: the payload behind the header of a frame of 64 KiB or more is on a word's boundary."""
_WORD = 8
_END_OF_REQUEST = b"\r\n\r\n"
_MARK_BYTES = 32
_SPARE_BYTES = 256 << 10


class Head(NamedTuple):
    """What a client's frame says of itself."""

    opcode: int
    final: bool
    start: int
    """Bytes before the payload, the mask included."""
    payload: int
    """Bytes of it."""


def head_of(first: bytes | bytearray) -> Head | None:
    """The head of a frame whose first bytes these are; None when it is longer."""
    if len(first) < 2:
        return None
    mask, short = _MASK_BYTES * (first[1] >> 7), first[1] & 127
    more = {126: 2, 127: 8}.get(short, 0)
    if len(first) < 2 + more:
        return None
    payload = int.from_bytes(first[2 : 2 + more]) if more else short
    return Head(opcode=first[0] & 15, final=bool(first[0] & 128), start=2 + more + mask, payload=payload)


def unmask(payload: memoryview, mask: bytes) -> None:
    """Take a mask off in place."""
    lead = min(-np.frombuffer(payload, np.uint8).__array_interface__["data"][0] % _WORD, len(payload))
    whole = (len(payload) - lead) & -_WORD
    turned = mask[lead % _MASK_BYTES :] + mask[: lead % _MASK_BYTES]
    words = np.frombuffer(payload[lead : lead + whole], np.uint64)
    np.bitwise_xor(words, np.frombuffer(turned * 2, np.uint64), out=words)
    for at in (*range(lead), *range(lead + whole, len(payload))):
        payload[at] ^= mask[at % _MASK_BYTES]


class Landing:
    """The slot that the next frame of any connection is read into, shared by all that are between two frames."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._slot: memoryview | None = None
        self._spare = memoryview(bytearray(_SPARE_BYTES))
        """Where bytes are read to when all slots are taken: they do not stay there."""
        self.slot_bytes = slots.slot_bytes

    def here(self) -> memoryview:
        """Where to read to."""
        if self._slot is None:
            self._slot = self._slots.take()
        return self.given

    @property
    def given(self) -> memoryview:
        """What `here` gave last, though a slot may have become free since."""
        return self._spare if self._slot is None else self._slot

    def claim(self) -> memoryview | None:
        """The slot that `here` gave, which the next frame does not get; None when it gave none."""
        claimed, self._slot = self._slot, None
        return claimed


class Intake(asyncio.BufferedProtocol):
    """Reads for one connection."""

    def __init__(self, connection: ServerConnection, landing: Landing) -> None:
        self._connection = connection
        self._landing = landing
        self._open = False
        """Its frames are followed; without that all of them are `websockets`'."""
        self._early = False
        """Bytes came behind the request before it was answered: where their frames end is not known."""
        self._slot: memoryview | None = None
        """Of the large frame that is read."""
        self._start = self._filled = self._stop = 0
        """In that slot: where its payload begins, where the next byte of it belongs, and where it ends."""
        self._mask = b""
        self._first = bytearray()
        """The head, so far, of a frame that is `websockets`'."""
        self._left = 0
        """Bytes of that frame that are still to come."""
        self._in_message = False
        """A message in fragments is under way."""
        self._secret = secrets.token_bytes(_MARK_BYTES - 8)
        self._numbers = count()
        self._messages: dict[bytes, memoryview] = {}
        """What is in the queue of messages by what stands there in its place: a robot cannot know that."""

    def begin(self) -> None:
        """Follow the connection's frames from here on: its handshake is done."""
        self._open = not self._early

    def message(self, received: bytes | str) -> Message:
        """The message that `websockets` handed over, or the one that it stands for."""
        if isinstance(received, bytes) and len(received) == _MARK_BYTES:
            return self._messages.pop(received, received)
        return received

    def end(self) -> None:
        """Let go of what nobody will ask for any more."""
        self._open = False
        self._messages.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        del sizehint
        if self._slot is not None:
            return self._slot[self._filled : self._stop]
        return self._landing.here()[_READ_AT:]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self._slot is not None:
            self._filled += nbytes
            if self._filled == self._stop:
                self._deliver(self._slot)
            return
        came = self._landing.given[_READ_AT : _READ_AT + nbytes]
        head = self._large(came)
        slot = None if head is None else self._landing.claim()
        if head is None or slot is None:
            self._pass(bytes(came))
            return
        self._slot = slot
        self._start = _READ_AT + head.start
        self._stop = self._start + head.payload
        self._mask = bytes(came[head.start - _MASK_BYTES : head.start])
        rest = bytes(came[self._stop - _READ_AT :])
        self._filled = _READ_AT + nbytes - len(rest)
        if self._filled == self._stop:
            self._deliver(slot)
        if rest:
            self._pass(rest)

    def _large(self, came: memoryview) -> Head | None:
        """The head of a frame that is read here, if bytes begin with one."""
        if not self._open or self._left or self._first or self._in_message or came[0] != _MESSAGE:
            return None
        head, most = head_of(bytes(came[:10])), self._connection.protocol.max_message_size
        if head is None or len(came) < head.start or not came[1] & 0x80 or self._connection.state is not State.OPEN:
            return None
        fits = _LEAST_BYTES <= head.payload <= min(most or 0, self._landing.slot_bytes - _READ_AT - head.start)
        return head if fits else None

    def _deliver(self, slot: memoryview) -> None:
        """Take a large frame's mask off, and put it into the queue."""
        payload, self._slot = slot[self._start : self._stop], None
        unmask(payload, self._mask)
        mark = self._secret + next(self._numbers).to_bytes(8)
        self._messages[mark] = payload.toreadonly()
        self._connection.process_event(Frame(Opcode.BINARY, mark))

    def _pass(self, came: bytes) -> None:
        """Give bytes to `websockets`, and see where its frames end."""
        if self._open:
            self._follow(came)
        elif self._connection.request is not None:
            self._early = True
        self._connection.data_received(came)
        if not self._open and self._connection.request is not None:
            self._early |= not came.endswith(_END_OF_REQUEST)

    def _follow(self, came: bytes) -> None:
        at = 0
        while at < len(came) and self._open:
            if self._left:
                step = min(self._left, len(came) - at)
                self._left -= step
                at += step
                continue
            self._first.append(came[at])
            at += 1
            head = head_of(self._first)
            if head is None:
                continue
            self._left = head.start + head.payload - len(self._first)
            self._first.clear()
            if head.opcode in (Opcode.CONT, Opcode.TEXT, Opcode.BINARY):
                self._in_message = not head.final
            self._open = head.opcode != Opcode.CLOSE

    def eof_received(self) -> None:
        """The robot sends nothing more."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._slot = None
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The robot reads too slowly."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The robot reads again."""
        self._connection.resume_writing()
