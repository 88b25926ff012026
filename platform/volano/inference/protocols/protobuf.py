"""The four messages of LeRobot's gRPC service, read and written without generated code: each has at most two fields,
a state and bytes. Everything else in a message is refused."""

from volano.errors import WireError
from volano.inference.protocols.spellings import malformed

_STATE, _DATA_AFTER_STATE, _DATA = 0x08, 0x12, 0x0A
"""A field's number and kind as protobuf writes them: an enumeration as field 1, bytes as field 2, bytes as field 1."""
_MAX_LENGTH_BYTES = 5
BEGIN, MIDDLE, END = 1, 2, 3
"""Which part of an observation a message is; one that fits a message is its end."""


def read_part(message: bytes) -> tuple[int, bytes]:
    """State and data of an `Observation`; raises WireError(E-WIRE-001) when it is none."""
    state, at = 0, 0
    if message[:1] == bytes([_STATE]):
        state, at = _varint(message, 1)
    data = _bytes(message, at, _DATA_AFTER_STATE)
    if state not in (BEGIN, MIDDLE, END):
        raise _no_message()
    return state, data


def read_data(message: bytes) -> bytes:
    """What a `PolicySetup` or `Actions` holds; raises WireError(E-WIRE-001) when it is none."""
    return _bytes(message, 0, _DATA)


def write_data(data: bytes) -> bytes:
    """A `PolicySetup` or `Actions`; without data it is an `Empty`."""
    if not data:
        return b""
    length, left = bytearray(), len(data)
    while left >= 1 << 7:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes([_DATA]) + bytes(length) + data


def _bytes(message: bytes, at: int, tag: int) -> bytes:
    """The bytes of the last field; a message that ends before it has none."""
    if at == len(message):
        return b""
    if message[at] != tag:
        raise _no_message()
    size, start = _varint(message, at + 1)
    if start + size != len(message):
        raise _no_message()
    return message[start:]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next thing stands."""
    value = 0
    for place, byte in enumerate(message[at : at + _MAX_LENGTH_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 1 << 7:
            return value, at + place + 1
    raise _no_message()


def _no_message() -> WireError:
    return malformed("the message is none of LeRobot's async inference")
