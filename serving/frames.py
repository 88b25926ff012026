"""Frames between a gateway and a replica: a small packed map, and behind it arrays as they lie in memory.

Eight bytes say how long the map and the arrays are; each array's type, shape and place stand in the map. An array lies
behind the map, or in memory that both sides share (`serving.slots`), and is never packed: it is a view of where it
was received. Small ones may stand in the map, in place of a value there.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, WireError
from volano.inference.protocols.arrays import MAX_FRAME_BYTES

_PREFIX = struct.Struct("<II")
MAX_MAP_BYTES = 1 << 20
_TYPES: Mapping[str, np.dtype[Any]] = {text: np.dtype(text) for text in ("|u1", "<f4")}
_ARRAY = 0
"""Type of the extension that an array in the map is."""
_BEHIND = -1
"""Place of an array that comes behind the map."""
_BUFFER_BYTES = 1 << 20
"""What the kernel may hold of one connection, so that an observation crosses in few pieces."""
_LANDING_BYTES = 16 << 10
"""Of what a loop reads at once: an answer and its prefix."""
Fields = Mapping[str, Any]
Arrays = Mapping[str, NDArray[Any]]


def encode(
    fields: Fields, arrays: Arrays, places: Mapping[str, int] = MappingProxyType({})
) -> list[bytes | memoryview]:
    """The pieces of one frame, to be written one after another; images are uint8, everything else float32. `places`
    are those of arrays in shared memory, which go nowhere."""
    body, listed = [], []
    for name, array in arrays.items():
        listed.append([name, array.dtype.str, list(array.shape), places.get(name, _BEHIND)])
        if name not in places and array.size:
            body.append(np.ascontiguousarray(array).data.cast("B"))
    head = msgpack.packb({**fields, "arrays": listed}, default=_standing)
    return [_PREFIX.pack(len(head), sum(map(len, body))), head, *body]


def decode(
    head: bytes, body: memoryview, shared: memoryview | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Fields and arrays of a frame; `shared` is the memory that its places are of. Raises WireError(E-WIRE-001) when
    they are not what `encode` makes."""
    try:
        fields = msgpack.unpackb(head, ext_hook=_stood)
        arrays, start = dict[str, NDArray[Any]](), 0
        for name, kind, shape, place in fields.pop("arrays"):
            dtype, count = _TYPES[kind], prod(shape)
            if count < 0:
                raise ValueError("no shape")
            if place == _BEHIND:
                arrays[name] = (
                    np.frombuffer(body, dtype, count, start).reshape(shape) if count else _empty(dtype, shape)
                )
                start += count * dtype.itemsize
            else:
                arrays[name] = np.frombuffer(shared or b"", dtype, count, place).reshape(shape)
        if start != len(body):
            raise ValueError("bytes are left")
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise WireError(
            Code.WIRE_FRAME, "a frame between gateway and replica is broken", "use one version of both"
        ) from error
    return fields, arrays


def read_frame(connection: socket.socket, shared: memoryview | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The next frame of a blocking socket; `shared` as for `decode`. Raises EOFError when the other side left,
    WireError for what is no frame or too large."""
    head, body = _lengths(_filled(connection, _PREFIX.size), MAX_FRAME_BYTES, MAX_MAP_BYTES)
    whole = _filled(connection, head + body)
    return decode(bytes(whole[:head]), whole[head:], shared)


def send_hello(connection: socket.socket, fields: Fields, descriptor: int) -> None:
    """Send the first frame of a Unix socket, with a file of this process."""
    hello = b"".join(encode(fields, {}))
    if socket.send_fds(connection, [hello], [descriptor]) < len(hello):
        raise ConnectionError("the replica does not read")


def read_hello(connection: socket.socket, max_map: int) -> tuple[dict[str, Any], int | None]:
    """The first frame of a blocking socket, which has no arrays and a map of at most `max_map` bytes, and the file that
    came with it. Raises like `read_frame`; no file is left open then."""
    first, descriptors, _, _ = socket.recv_fds(connection, _PREFIX.size, 1, socket.MSG_CMSG_CLOEXEC)
    try:
        if not first:
            raise EOFError
        prefix = memoryview(first + bytes(_filled(connection, _PREFIX.size - len(first))))
        head, _ = _lengths(prefix, 0, max_map)
        fields, _ = decode(bytes(_filled(connection, head)), memoryview(b""))
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return fields, descriptors[0] if descriptors else None


def widen(connection: socket.socket) -> None:
    """Let the kernel hold an observation, as far as it may, so that it crosses in few pieces."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def _standing(value: object) -> msgpack.ExtType:
    """An array in the map."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a frame does not carry {type(value).__name__}")
    return msgpack.ExtType(_ARRAY, msgpack.packb([value.dtype.str, list(value.shape), value.tobytes()]))


def _stood(_: int, data: bytes) -> NDArray[Any]:
    kind, shape, values = msgpack.unpackb(data)
    return np.frombuffer(values, _TYPES[kind]).reshape(shape)


def _empty(dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    return np.zeros(shape, dtype)


def _filled(connection: socket.socket, size: int) -> memoryview:
    whole = memoryview(bytearray(size))
    left = whole
    while left:
        count = connection.recv_into(left)
        if count == 0:
            raise EOFError
        left = left[count:]
    return whole


def _lengths(prefix: memoryview, max_body: int, max_map: int) -> tuple[int, int]:
    head, body = _PREFIX.unpack(prefix)
    if not 0 < head <= max_map or body > max_body:
        raise WireError(Code.WIRE_LIMIT, f"a frame of {head} and {body} bytes", "use one version of both")
    return head, body


class Framed(asyncio.BufferedProtocol):
    """A loop's end of a connection. Subclasses say what happens with a frame, and when the connection is gone."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._landing = memoryview(bytearray(_LANDING_BYTES))
        """Where bytes are read to, the next frame's first at its start."""
        self._filled = 0

    def frame_received(self, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """A whole frame came."""
        raise NotImplementedError

    def send(self, fields: Fields, arrays: Arrays, places: Mapping[str, int] = MappingProxyType({})) -> None:
        """Send a frame; nothing happens when the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(encode(fields, arrays, places))

    def abort(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way back."""
        self.transport = cast("asyncio.Transport", transport)
        widen(transport.get_extra_info("socket"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        del sizehint
        return self._landing[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came; a broken frame ends the connection."""
        self._filled += nbytes
        try:
            while self._advance():
                pass
        except WireError:
            self.abort()

    def _advance(self) -> bool:
        """Hand on the first frame, if it is whole; else see that it has room."""
        if self._filled < _PREFIX.size:
            return False
        head, body = _lengths(self._landing[: _PREFIX.size], MAX_FRAME_BYTES, MAX_MAP_BYTES)
        size = _PREFIX.size + head + body
        if self._filled < size:
            if size > len(self._landing):
                self._move(0, size)
            return False
        frame = memoryview(bytes(self._landing[_PREFIX.size : size]))
        self._move(size, _LANDING_BYTES)
        self.frame_received(*decode(bytes(frame[:head]), frame[head:]))
        return True

    def _move(self, start: int, size: int) -> None:
        """Begin the landing with what came from `start` on; it has `size` bytes, or as many as it had."""
        left = bytes(self._landing[start : self._filled])
        if size > len(self._landing) or len(left) <= size < len(self._landing):
            self._landing = memoryview(bytearray(size))
        self._landing[: len(left)] = left
        self._filled = len(left)
