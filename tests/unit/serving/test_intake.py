"""However a robot's frames are cut on their way, they come out whole, unmasked and in order; what is no sound large
frame is judged by the WebSocket library, as if nothing stood before it."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from serving.gateway import Connection, connecting
from serving.intake import Landing, head_of, unmask
from serving.slots import Slots

MASK = b"\x01\x80\x7f\xfe"
BINARY, TEXT, CONT, PING, CLOSE = 2, 1, 0, 9, 8
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LARGE = [os.urandom(size) for size in (4096, 5003, 65535, 65536, 300_001)]
Message = bytes | str


def frame(payload: bytes, opcode: int = BINARY, *, final: bool = True, reserved: int = 0) -> bytes:
    """As a client sends it, masked."""
    size = len(payload)
    lengths = (
        bytes((128 | size,))
        if size < 126
        else b"\xfe" + size.to_bytes(2)
        if size < 65536
        else b"\xff" + size.to_bytes(8)
    )
    masked = bytes(one ^ MASK[at % 4] for at, one in enumerate(payload))
    return bytes((128 * final | reserved | opcode,)) + lengths + MASK + masked


def admitting(landing: Landing) -> type[ServerConnection]:
    """Connections of anybody."""
    return connecting(landing, lambda _: True, lambda _: None)


def heard(pieces: Sequence[bytes], count: int, slots: Slots | None = None) -> list[Any]:
    """Messages that come of writes one after another, until there are so many or the connection ends; then its code."""

    async def main() -> list[Any]:
        landing, found, done = Landing(slots or Slots(count=8)), list[Any](), asyncio.Event()

        async def converse(connection: ServerConnection) -> None:
            assert isinstance(connection, Connection)
            connection.intake.begin()
            try:
                while len(found) < count:
                    message = connection.intake.message(await connection.recv())
                    found.append(message if isinstance(message, str) else bytes(message))
            except ConnectionClosed as error:
                found.append(error.sent.code if error.sent else None)
            done.set()

        async with serve(
            converse, "127.0.0.1", 0, create_connection=admitting(landing), max_size=1 << 20, max_queue=1
        ) as server:
            await asyncio.to_thread(_write, next(iter(server.sockets)).getsockname()[1], pieces)
            await asyncio.wait_for(done.wait(), 10)
        return found

    return asyncio.run(main())


def _write(port: int, pieces: Sequence[bytes]) -> None:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HANDSHAKE)
    assert b"101" in connection.recv(4096)
    for piece in pieces:
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    connection.close() if not pieces else connection.detach()


def cut(whole: bytes, *places: int) -> list[bytes]:
    edges = [0, *places, len(whole)]
    return [whole[start:stop] for start, stop in pairwise(edges)]


@pytest.mark.parametrize("payload", LARGE, ids=len)
@pytest.mark.parametrize("places", [(), (1,), (2,), (7,), (9,), (14,), (15,), (3, 1000), (4000, 4001)], ids=str)
def test_a_large_frame_comes_out_whole_however_it_is_cut(payload: bytes, places: tuple[int, ...]) -> None:
    assert heard(cut(frame(payload), *places), 1) == [payload]


def test_messages_keep_their_order_whatever_lies_between() -> None:
    one, two, three = LARGE[1:4]
    whole = b"".join(
        (
            frame(one),
            frame(b"ping", PING),
            frame(b"text", TEXT),
            frame(two),
            frame(three[:5000], final=False),
            frame(b"ping", PING),
            frame(three[5000:], CONT),
            frame(b"small"),
            frame(one),
        )
    )
    expected = [one, "text", two, three, b"small", one]
    assert heard([whole], 6) == expected
    assert heard(cut(whole, *range(997, len(whole), 4999)), 6) == expected


def test_without_a_slot_messages_come_all_the_same() -> None:
    slots = Slots(count=1)
    held = slots.take()
    assert heard([frame(LARGE[2]), frame(LARGE[1])], 2, slots) == [LARGE[2], LARGE[1]]
    del held
    assert heard([frame(LARGE[2]), frame(LARGE[4])], 2, Slots(count=4, slot_bytes=1 << 17)) == [LARGE[2], LARGE[4]]


def test_what_stands_for_a_message_cannot_be_sent() -> None:
    payload = b"\0" * 32
    assert heard([frame(payload), frame(LARGE[0])], 2) == [payload, LARGE[0]]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([frame(b"x" * ((1 << 20) + 1))], 1009),
        ([frame(LARGE[0], reserved=64)], 1002),
        ([frame(LARGE[0], final=False), frame(LARGE[0])], 1002),
        ([frame(LARGE[0], CONT)], 1002),
        ([frame(LARGE[0], 3)], 1002),
        ([frame(b"\xff" * 5000, TEXT)], 1007),
        ([bytes((130, 126)) + (5000).to_bytes(2) + b"x" * 5000], 1002),
        ([bytes((130, 255)) + b"\xff" * 8 + MASK], 1009),
    ],
    ids=["too large", "reserved", "within another", "nothing to continue", "unknown", "no text", "bare", "beyond all"],
)
def test_what_is_not_sound_ends_the_connection(sent: list[bytes], code: int) -> None:
    assert heard([frame(LARGE[0]), *sent], 9) == [LARGE[0], code]


def test_nothing_is_read_behind_a_close() -> None:
    assert heard([frame(LARGE[0]), frame(b"\x03\xe8", CLOSE) + frame(LARGE[1])], 9) == [LARGE[0], 1000]


def test_bytes_behind_the_handshake_are_read() -> None:
    """A client that does not wait for the answer: its frames are the library's, and whole."""

    def eager(port: int) -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(HANDSHAKE + frame(LARGE[0])[:100])
        connection.recv(4096)
        connection.sendall(frame(LARGE[0])[100:] + frame(LARGE[1]))
        connection.detach()

    async def main(write: Callable[[int], None]) -> list[Any]:
        found = list[Any]()
        done = asyncio.Event()

        async def converse(connection: ServerConnection) -> None:
            assert isinstance(connection, Connection)
            connection.intake.begin()
            found.extend([await _message(connection), await _message(connection)])
            done.set()

        landing = Landing(Slots(count=2))
        async with serve(converse, "127.0.0.1", 0, create_connection=admitting(landing)) as server:
            await asyncio.to_thread(write, next(iter(server.sockets)).getsockname()[1])
            await asyncio.wait_for(done.wait(), 10)
        return found

    assert asyncio.run(main(eager)) == LARGE[:2]


def _message(connection: Connection) -> Awaitable[Message]:
    async def received() -> Message:
        message = connection.intake.message(await connection.recv())
        return message if isinstance(message, str) else bytes(message)

    return received()


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [0, 1, 5, 8, 4099])
def test_masks_come_off_wherever_a_payload_lies(start: int, size: int) -> None:
    memory, plain = memoryview(bytearray(start + size)), os.urandom(size)
    payload = memory[start:]
    payload[:] = bytes(one ^ MASK[at % 4] for at, one in enumerate(plain))
    unmask(payload, MASK)
    assert bytes(payload) == plain


def test_heads_are_read_once_they_are_whole() -> None:
    whole = frame(LARGE[4])
    assert [head_of(whole[:size]) is None for size in range(12)] == [True] * 10 + [False] * 2
    head = head_of(whole)
    assert head is not None
    assert (head.opcode, head.final, head.start, head.payload) == (BINARY, True, 14, len(LARGE[4]))


def test_bytes_are_read_from_where_they_went_though_a_slot_became_free_meanwhile() -> None:
    sent = frame(LARGE[0])

    async def main() -> Message:
        slots = Slots(count=1)
        held, found = [slots.take()], asyncio.get_running_loop().create_future()

        async def converse(connection: ServerConnection) -> None:
            assert isinstance(connection, Connection)
            connection.intake.begin()
            connection.intake.get_buffer(-1)[: len(sent)] = sent
            held.clear()
            connection.intake.buffer_updated(len(sent))
            found.set_result(await _message(connection))

        async with serve(converse, "127.0.0.1", 0, create_connection=admitting(Landing(slots))) as server:
            await asyncio.to_thread(_write, next(iter(server.sockets)).getsockname()[1], [b""])
            return await asyncio.wait_for(found, 10)

    assert asyncio.run(main()) == LARGE[0]
