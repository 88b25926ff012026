"""ZeroMQ's transport as hostile peers speak it; real sockets ask in `tests/integration/test_gr00t_ports.py`."""

import random
import struct

import pytest

from volano.errors import WireError
from volano.inference.protocols.zmtp import GREETING, READY, Heard, Hearing, reply_of

MOST = 10_000
REQ = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
HELLO = GREETING + REQ


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes((flags | 2,)) + struct.pack(">Q", len(body)) + body


def question(body: bytes) -> bytes:
    return b"\x01\x00" + frame(body)


def told(data: bytes, hearing: Hearing | None = None, piece: int = 1 << 20) -> list[Heard]:
    """What a connection heard, of bytes that came in pieces of at most so many."""
    listening, found = hearing or Hearing(MOST), list[Heard]()
    while data:
        room = listening.buffer()
        count = min(len(room), len(data), piece)
        room[:count] = data[:count]
        found += listening.take(count)
        data = data[count:]
    return found


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
def test_questions_are_heard_however_their_bytes_come(piece: int) -> None:
    body = random.Random(0).randbytes(9_000)
    found = told(HELLO + question(body) + question(b"") + b"\x01\x00\x00\x03abc", piece=piece)
    assert found == [Heard(say=READY), Heard(question=body), Heard(question=b""), Heard(question=b"abc")]


def test_what_a_server_says_is_what_a_client_reads() -> None:
    assert len(GREETING) == 64
    assert told(reply_of(b"x" * 300), started()) == [Heard(question=b"x" * 300)]
    assert told(reply_of(b"short"), started()) == [Heard(question=b"short")]


def started() -> Hearing:
    hearing = Hearing(MOST)
    told(HELLO, hearing)
    return hearing


def test_a_ping_is_answered_and_other_commands_are_not() -> None:
    assert told(b"\x04\x09\x04PING\x00\x0aab" + b"\x04\x06\x05OTHER", started()) == [Heard(say=b"\x04\x07\x04PONGab")]


@pytest.mark.parametrize(
    "message", [b"\x00\x01x", b"\x01\x01x\x00\x01y", b"\x01\x00\x01\x00\x00\x01x", b"\x01\x00" * 6 + b"\x00\x00"]
)
def test_other_messages_are_passed_over(message: bytes) -> None:
    assert told(message + question(b"x"), started()) == [Heard(dropped=True), Heard(question=b"x")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n", "E-WIRE-001"),
        (GREETING[:10] + b"\x01" + bytes(53), "E-WIRE-001"),
        (GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32), "E-WIRE-001"),
        (GREETING + question(b"x"), "E-WIRE-001"),
        (GREETING + REQ.replace(b"\x03REQ", b"\x03SUB"), "E-WIRE-001"),
        (GREETING + b"\x04\x06\x05READY", "E-WIRE-001"),
        (GREETING + b"\x06" + struct.pack(">Q", 1 << 40), "E-WIRE-004"),
        (HELLO + b"\x01\x00\x02" + struct.pack(">Q", MOST + 1), "E-WIRE-004"),
        (HELLO + b"\x01\x00\x02" + struct.pack(">Q", (1 << 64) - 1), "E-WIRE-004"),
        (HELLO + b"\x01\x00" * 9, "E-WIRE-004"),
        (HELLO + frame(bytes(6_000), 1) + frame(bytes(6_000), 1), "E-WIRE-004"),
        (HELLO + b"\x80\x00", "E-WIRE-001"),
        (HELLO + b"\x05\x00", "E-WIRE-001"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_kept(data: bytes, code: str) -> None:
    for piece in (1, 1 << 20):
        with pytest.raises(WireError) as caught:
            told(data, piece=piece)
        assert caught.value.code == code


def test_what_is_unfinished_is_known_to_be() -> None:
    hearing = Hearing(MOST)
    assert hearing.is_amid
    told(HELLO, hearing)
    assert not hearing.is_amid
    for data in (b"\x01", b"\x00", b"\x02", struct.pack(">Q", 5), b"abcd"):
        told(data, hearing)
        assert hearing.is_amid
    assert told(b"e", hearing) == [Heard(question=b"abcde")]
    assert not hearing.is_amid


def code_of(data: bytes, piece: int) -> str:
    """How a connection ended: by a code, or not."""
    try:
        told(data, piece=piece)
    except WireError as error:
        return str(error.code)
    return ""


def test_damaged_bytes_end_in_a_code_or_in_nothing() -> None:
    chance = random.Random(1)
    ends = set()
    for _ in range(2_000):
        data = bytearray(HELLO + question(chance.randbytes(40)) * 2)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        ends.add(code_of(bytes(data), chance.choice((1, 13, 1 << 20))))
    assert ends == {"", "E-WIRE-001", "E-WIRE-004"}
