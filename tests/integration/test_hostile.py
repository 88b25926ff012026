"""Attacks on a real gateway from outside. After each of them an honest robot is answered within its deadline.

The attackers hold no key, a wrong one, or the valid key of another robot; they speak raw TCP where a client library
would be too polite.
"""

import gc
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.routes import RobotRecord
from tests.integration.gateways import KEY, Controllers, Directory, Running, hashed, running_gateway
from tests.integration.test_gateway import ask, place, robot
from tests.unit.data.bundles import ROVER
from volano.inference.protocols.arrays import pack

HOSTILE_KEY = "key-of-rover-66"
DEADLINE_S = 1.0
BINARY, CONTINUED, PING = 2, 0, 9


@dataclass(kw_only=True)
class Forgetful(Controllers):
    """Counts what it was asked and keeps none of it, so that memory is the gateway's own."""

    calls: int = 0

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        self.calls += 1
        chunk = await super().__call__(policy, observation, within_s)
        self.seen.clear()
        return chunk


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    """A gateway that knows an honest and a hostile robot."""
    directory = Directory()
    directory.robots[hashed(HOSTILE_KEY)] = RobotRecord(id="rover-66", embodiment=ROVER)
    with caplog.at_level(logging.INFO), running_gateway(directory, Forgetful()) as running:
        yield running
    for secret in (KEY, HOSTILE_KEY):
        assert secret not in caplog.text


@pytest.fixture
def honest(running: Running) -> Iterator[Callable[[], None]]:
    """Asks as a robot that was connected all the time and as one that comes now; both are served in time."""
    with robot(running) as connected:

        def check() -> None:
            with robot(running) as new:
                for connection in (connected, new):
                    start = time.monotonic()
                    assert "actions" in ask(connection, place())
                    assert time.monotonic() - start < DEADLINE_S

        yield check
        check()


def stranger(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=10)


def handshake(key: str) -> bytes:
    lines = [
        "GET / HTTP/1.1",
        "Host: gateway",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Api-Key {key}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def hostile(running: Running) -> socket.socket:
    """An open connection of the hostile robot that has read nothing but the handshake's answer."""
    connection = stranger(running)
    connection.sendall(handshake(HOSTILE_KEY))
    answer = until(connection, b"\r\n\r\n", 1)
    assert answer.startswith(b"HTTP/1.1 101")
    return connection


def until(connection: socket.socket, end: bytes, at_once: int) -> bytes:
    """What is received, as soon as `end` is in it."""
    answer = b""
    while end not in answer:
        piece = connection.recv(at_once)
        assert piece, f"the gateway ended the connection after {answer!r}"
        answer += piece
    return answer


def frame(opcode: int, data: bytes = b"", *, final: bool = True) -> bytes:
    """A WebSocket frame with a mask of zeros."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xff" + struct.pack(">Q", size)
    return bytes([0x80 * final | opcode]) + length + b"\0\0\0\0" + data


def own_place(**changes: Any) -> dict[str, Any]:
    message = place(**changes)
    return {**message, "volano": {**message["volano"], "robot": "rover-66"}}


def resident() -> int:
    """Bytes of memory that this process, with the gateway in it, holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def send_until_refused(connection: socket.socket, data: bytes, most: int) -> int:
    """Send again and again; how many bytes the gateway's side took."""
    sent = 0
    connection.settimeout(2)
    try:
        while sent < most:
            connection.sendall(data)
            sent += len(data)
    except OSError:
        pass
    return sent


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(5)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.usefixtures("honest")
def test_pings_whose_answers_nobody_reads_fill_no_memory(running: Running) -> None:
    with closing(hostile(running)) as connection:
        before = resident()
        send_until_refused(connection, frame(PING, b"p" * 125) * 4000, 150 << 20)
        assert resident() - before < 40 << 20
        assert is_closed(connection)


def test_half_frames_of_many_connections_fill_no_memory(running: Running, honest: Callable[[], None]) -> None:
    half = frame(BINARY, bytes(31 << 20))[: 10 << 20]  # made once: what a sender throws away is not the gateway's
    before = resident()
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(closing(hostile(running)))
            send_until_refused(connection, half, 1)
        assert resident() - before < 60 << 20
        honest()


def test_a_robot_has_few_connections_and_the_newest_ones(running: Running, honest: Callable[[], None]) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(hostile(running))) for _ in range(30)]
        assert is_closed(connections[0])
        honest()
        connections[-1].sendall(frame(BINARY, pack(own_place())))
        connections[-1].settimeout(5)
        until(connections[-1], b"actions", 4096)


def test_endless_fragments_end(running: Running, honest: Callable[[], None]) -> None:
    with closing(hostile(running)) as connection:
        before = resident()
        connection.sendall(frame(BINARY, b"x", final=False))
        send_until_refused(connection, frame(CONTINUED, final=False) * 5000, 30 << 20)
        assert resident() - before < 40 << 20
        honest()


def test_slow_and_silent_strangers_keep_nobody_out(running: Running, honest: Callable[[], None]) -> None:
    with ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(closing(stranger(running)))
            connection.sendall(handshake(KEY)[: number % 100])
        honest()


def test_knocking_with_wrong_keys_fills_no_log(
    running: Running, honest: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        with closing(stranger(running)) as connection:
            connection.sendall(handshake(f"guess-{number}"))
            assert connection.recv(4096).startswith(b"HTTP/1.1 401")
    assert caplog.text.count("refused") < 20
    assert "guess" not in caplog.text
    honest()


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize(
    "request_line",
    [
        b"\0" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        handshake("x").replace(b"Authorization: Api-Key x\r\n", b"").replace(b"GET /", b"GET /?" + b"a=1&" * 50),
        b"GET /\xff\x1b[2J HTTP/1.1\r\nAuthorization: Api-Key " + KEY.encode() + b"\r\n\r\n",
        handshake("x").replace(b"Api-Key x", b"Api-Key \xff\xfe"),
        handshake(HOSTILE_KEY).replace(b"Api-Key", b"Api-Key x\r\nAuthorization: Api-Key"),
    ],
)
def test_no_request_is_more_than_refused(running: Running, request_line: bytes) -> None:
    with closing(stranger(running)) as connection:
        connection.sendall(request_line)
        answer = connection.recv(4096)
        assert not answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 5"))
        assert KEY.encode() not in answer


def test_robots_that_vanish_in_the_middle_of_a_frame(running: Running, honest: Callable[[], None]) -> None:
    message = frame(BINARY, pack(own_place()))
    for percent in range(0, 100, 4):
        connection = hostile(running)
        connection.sendall(message[: len(message) * percent // 100])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    honest()


def array(**changes: object) -> dict[bytes, object]:
    fields: dict[bytes, object] = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    return fields | {name.encode(): value for name, value in changes.items()}


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (own_place() | {"observation/state": array(dtype="|O")}, "E-WIRE-001"),
        (own_place() | {"observation/state": array(dtype=">f4")}, "E-WIRE-001"),
        (own_place() | {"observation/state": array(shape=[-2])}, "E-WIRE-001"),
        (own_place() | {"observation/state": array(shape=[1 << 62, 4])}, "E-WIRE-004"),
        (own_place() | {"observation/state": array(shape=[1 << 16] * 4)}, "E-WIRE-001"),
        (own_place() | {"observation/state": np.full(2, np.nan, np.float32)}, "E-WIRE-003"),
        (own_place() | {"observation/image/ego": np.zeros((64, 65, 3), np.uint8)}, "E-CONTRACT-001"),
        (own_place() | {"prompt": "go\x1b[2J\x00"}, "E-WIRE-003"),
        (own_place() | {"prompt": "\u202etfel og"}, "E-WIRE-003"),
        (own_place() | {"prompt": "😀" * 1000}, "E-WIRE-003"),
        (own_place(task="a\nb\x07"), "E-WIRE-003"),
        (own_place(episode="e\u0435"), "E-WIRE-003"),
        (place(), "E-WIRE-002"),
        (own_place() | {"volano": own_place()["volano"] | {"embodiment": "0" * 64}}, "E-CONTRACT-001"),
        (own_place() | {"volano": own_place()["volano"] | {"tick": True}}, "E-WIRE-003"),
        ({"endpoint": "kill", "api_token": KEY}, "E-CONTRACT-001"),
    ],
)
def test_a_valid_key_makes_no_frame_sound(running: Running, message: dict[str, Any], code: str) -> None:
    with robot(running, HOSTILE_KEY) as connection:
        text = ask(connection, message)
        assert text.startswith(code), text
        assert text.isprintable()
        assert KEY not in text
        assert running.directory.asked == []


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        b"\x81" * 20_000,
        b"\x91" * 20_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\x00\x00\x00\x10\x05" + b"x" * 16,
        b"",
    ],
)
def test_no_bytes_are_more_than_refused(running: Running, content: bytes) -> None:
    with robot(running, HOSTILE_KEY) as connection:
        connection.send(content)
        text = connection.recv(timeout=5)
        assert isinstance(text, str)
        assert text.startswith(("E-WIRE-001", "E-WIRE-004"))
        assert "Traceback" not in text


def test_a_robot_that_reads_no_answer_waits_for_itself_alone(running: Running, honest: Callable[[], None]) -> None:
    with closing(hostile(running)) as connection:
        before = resident()
        send_until_refused(connection, frame(BINARY, pack(own_place())), 60 << 20)
        assert resident() - before < 40 << 20
        honest()


def test_stopping_waits_for_no_robot_that_is_silent(running: Running) -> None:
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(closing(hostile(running)))
        start = time.monotonic()
        running.stop()
        assert time.monotonic() - start < 6
