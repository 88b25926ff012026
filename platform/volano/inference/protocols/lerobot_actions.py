"""A chunk as LeRobot's client unpickles it: a list of its own TimedAction with one-dimensional tensors, written without
importing either of them.

The names that the client is to look up stand first, once; each row then holds its bytes, which become a tensor by
public functions of NumPy and PyTorch. Floats cross it bit for bit.
"""

import struct

from volano.inference.guard import FloatArray


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _keep(value: bytes) -> bytes:
    """Push, put into the memo, pop."""
    return value + b"\x940"


def _name(module: str, attribute: str) -> bytes:
    return _keep(_text(module) + _text(attribute) + b"\x93")


_HEAD = b"".join(
    (
        b"\x80\x05",
        _name("lerobot.async_inference.helpers", "TimedAction"),
        _name("torch", "from_numpy"),
        _name("numpy", "frombuffer"),
        *(_keep(_text(text)) for text in ("<f4", "timestamp", "timestep", "action")),
        b"](",
    )
)
_ACTION, _TENSOR, _BUFFER, _KIND, _TIMESTAMP, _TIMESTEP, _VALUE = (b"h" + bytes([place]) for place in range(7))
"""What the head put into the memo."""


def write_actions(chunk: FloatArray, *, timestamp: float, timestep: int, step_s: float) -> bytes:
    """The pickle of a chunk (rows, channels): row n at `timestep` + n, and `step_s` seconds after the one before."""
    rows = [
        _row(row.tobytes(), timestamp + number * step_s, timestep + number)
        for number, row in enumerate(chunk.astype("<f4", copy=False))
    ]
    return b"".join((_HEAD, *rows, b"e."))


def _row(data: bytes, timestamp: float, timestep: int) -> bytes:
    """TimedAction(timestamp, timestep, from_numpy(frombuffer(bytearray(data), '<f4')))."""
    size = struct.pack("<Q", len(data))
    tensor = b"".join((_TENSOR, _BUFFER, b"\x96", size, data, _KIND, b"\x86R\x85R"))
    at, step = b"G" + struct.pack(">d", timestamp), b"J" + struct.pack("<i", timestep)
    return b"".join((_ACTION, b")\x81}(", _TIMESTAMP, at, _TIMESTEP, step, _VALUE, tensor, b"ub"))
