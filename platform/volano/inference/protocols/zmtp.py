"""ZeroMQ's transport (ZMTP 3, mechanism NULL) as a server of REQ sockets hears and speaks it; no socket, no clock.

A message of a REQ socket is an empty part and a part with the question. Its size is known before its bytes are here:
what is more than allowed, in bytes or in parts, is refused and nothing of it kept. What other sockets say is passed
over.
"""

import struct
from dataclasses import dataclass

from volano.errors import Code, WireError

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""What a server says first."""
_MORE, _LONG, _COMMAND = 1, 2, 4
_MAX_PARTS = 8
_MAX_COMMAND_BYTES = 512
_SCRATCH_BYTES = 16 << 10
_SIZE = struct.Struct(">Q")
_SPEAK_WITH_US = {b"REQ", b"DEALER"}


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | _LONG,)) + _SIZE.pack(len(body)) + body


READY = _frame(_COMMAND, b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"ROUTER")
"""What a server says of itself."""


def reply_of(body: bytes) -> bytes:
    """An answer, as a REQ socket takes it."""
    return _frame(_MORE, b"") + _frame(0, body)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What came, one of these."""

    question: bytes | None = None
    say: bytes = b""
    """What the transport itself answers."""
    dropped: bool = False
    """A message that was no question."""


class Hearing:
    """One connection. Bytes are put where `buffer` says; `take` says what they were. An error is the end."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of a message, all of its parts."""
        self._max_bytes = max_bytes
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._end = 0
        self._body = memoryview(b"")
        self._filled = 0
        self._flags = -1
        """Of the frame whose body is read; -1 while its head is."""
        self._greeted = self._ready = False
        self._parts = self._bytes = 0
        """Of the message so far."""
        self._sound = True
        """So far it is what a REQ socket sends."""

    @property
    def is_ready(self) -> bool:
        """Whether both sides have said who they are."""
        return self._ready

    @property
    def is_amid(self) -> bool:
        """Whether a message, or the beginning, is not whole."""
        return not self._ready or self._flags >= 0 or self._parts > 0 or self._end > 0

    def buffer(self) -> memoryview:
        """Where the next bytes belong, never empty."""
        return self._body[self._filled :] if self._flags >= 0 else self._scratch[self._end :]

    def take(self, count: int) -> list[Heard]:
        """So many bytes came. Raises WireError(E-WIRE-001) for what is not ZMTP or not of a REQ socket,
        WireError(E-WIRE-004) for a message that is too large."""
        found: list[Heard] = []
        if self._flags >= 0:
            self._filled += count
            if self._filled == len(self._body):
                found += self._end_of_frame()
            return found
        whole, start = self._scratch[: self._end + count], 0
        while (used := self._head(whole[start:])) > 0:
            start += used
            if self._flags < 0:
                continue
            piece = whole[start : start + len(self._body)]
            self._body[: len(piece)] = piece
            self._filled, start = len(piece), start + len(piece)
            if self._filled < len(self._body):
                break
            found += self._end_of_frame()
        left = bytes(whole[start:])
        self._scratch[: len(left)] = left
        self._end = len(left)
        return found

    def _head(self, data: memoryview) -> int:
        """Bytes of a greeting, or of a frame's head that says what body is to come; 0 while they are not all here."""
        if not self._greeted:
            return self._greeting(data)
        if len(data) < 2:
            return 0
        flags = data[0]
        size, used = data[1], 2
        if flags & _LONG:
            if len(data) < 9:
                return 0
            size, used = _SIZE.unpack_from(data, 1)[0], 9
        if flags > _MORE | _LONG | _COMMAND or (flags & _COMMAND and flags & _MORE):
            raise _broken("a frame of no known kind")
        limit = _MAX_COMMAND_BYTES if flags & _COMMAND or not self._ready else self._max_bytes - self._bytes
        if size > limit or self._parts >= _MAX_PARTS:
            raise WireError(Code.WIRE_LIMIT, f"a message of more than {self._max_bytes} bytes or parts", "send less")
        self._flags, self._filled = flags, 0
        self._body = memoryview(bytearray(size))
        return used

    def _greeting(self, data: memoryview) -> int:
        if data[:1] not in (b"", GREETING[:1]) or (len(data) > 10 and (data[9] != 0x7F or data[10] < 3)):
            raise _broken("not ZMTP 3")
        if len(data) < len(GREETING):
            return 0
        if bytes(data[12:32]) != GREETING[12:32]:
            raise _broken("another mechanism than NULL")
        self._greeted = True
        return len(GREETING)

    def _end_of_frame(self) -> list[Heard]:
        flags, body = self._flags, bytes(self._body)
        self._flags, self._body = -1, memoryview(b"")
        if flags & _COMMAND:
            return self._command(body)
        if not self._ready:
            raise _broken("a message before READY")
        self._sound &= self._parts == 1 or (self._parts == 0 and not body)
        self._parts, self._bytes = self._parts + 1, self._bytes + len(body)
        if flags & _MORE:
            return []
        whole = self._sound and self._parts == 2
        self._parts, self._bytes, self._sound = 0, 0, True
        return [Heard(question=body) if whole else Heard(dropped=True)]

    def _command(self, body: bytes) -> list[Heard]:
        if not self._ready:
            if not body.startswith(b"\x05READY") or _property(body[6:], b"socket-type") not in _SPEAK_WITH_US:
                raise _broken("no REQ socket")
            self._ready = True
            return [Heard(say=READY)]
        if body.startswith(b"\x04PING") and 7 <= len(body) <= 23:
            return [Heard(say=_frame(_COMMAND, b"\x04PONG" + body[7:]))]
        return []


def _property(data: bytes, name: bytes) -> bytes:
    """A value of a command's list of names and values; empty when it is not there."""
    while data:
        end = 1 + data[0]
        size = int.from_bytes(data[end : end + 4], "big")
        if data[1:end].lower() == name:
            return data[end + 4 : end + 4 + size]
        data = data[end + 4 + size :]
    return b""


def _broken(cause: str) -> WireError:
    return WireError(Code.WIRE_FRAME, cause, "connect with a REQ socket of ZeroMQ 4")
