"""Which conversation a peer has: its own as long as it shows its key and speaks, and never more than its robot may."""

import asyncio
import time
from collections.abc import Callable

import pytest

from serving.admission import Admission, Caller
from serving.exchange import Conversation
from serving.routes import RobotRecord
from serving.talks import Talks
from serving.tls import Certificate
from tests.integration.gateways import KEY, Directory, hashed
from tests.unit.data.bundles import ROVER
from volano.errors import WireError


def directory() -> Directory:
    """Two robots."""
    found = Directory()
    found.robots[hashed("other")] = RobotRecord(id="rover-02", embodiment=ROVER)
    return found


HERE = Caller(address="10.0.0.1")


def talks_of(clock: Callable[[], float] = time.monotonic) -> Talks:
    return Talks(Admission(directory().robot), "gr00t", clock)


def talk(talks: Talks, peer: bytes, key: str = KEY, caller: Caller = HERE) -> Conversation:
    return asyncio.run(talks.of(peer, key, caller))


def test_a_peer_goes_on_with_its_talk() -> None:
    talks = talks_of()
    first = talk(talks, b"a")
    assert talk(talks, b"a") is first
    assert talk(talks, b"b").connection != first.connection
    assert (b"a" in talks, b"c" in talks) == (True, False)


def test_another_key_is_another_talk() -> None:
    talks = talks_of()
    first, other = talk(talks, b"a"), talk(talks, b"a", "other")
    assert (first.robot.id, other.robot.id) == ("rover-01", "rover-02")
    assert talk(talks, b"a").connection not in {first.connection, other.connection}


def test_strangers_have_none_and_take_none() -> None:
    talks = talks_of()
    first = talk(talks, b"a")
    for peer, key in ((b"a", ""), (b"a", "unknown"), (b"a", "x" * 1000), (b"b", "unknown")):
        with pytest.raises(WireError, match="unknown or missing key"):
            talk(talks, peer, key)
    assert b"b" not in talks
    assert talk(talks, b"a") is first


def test_what_is_silent_is_forgotten() -> None:
    now = 0.0
    talks = talks_of(lambda: now)
    first, second = talk(talks, b"a"), talk(talks, b"b")
    now = 500.0
    assert talk(talks, b"b") is second
    now = 700.0
    assert talk(talks, b"b") is second
    assert b"a" not in talks
    assert talk(talks, b"a").connection != first.connection


def test_a_robot_loses_its_own_oldest_peer_and_no_other_robot_s() -> None:
    talks = talks_of()
    other = talk(talks, b"other", "other")
    peers = [bytes([number]) for number in range(10)]
    for peer in peers:
        talk(talks, peer)
    assert [peer in talks for peer in peers] == [False, False, *[True] * 8]
    assert talk(talks, b"other", "other") is other


def test_two_questions_at_once_begin_one_talk() -> None:
    async def both() -> list[Conversation]:
        talks = talks_of()
        return list(await asyncio.gather(talks.of(b"a", KEY, HERE), talks.of(b"a", KEY, HERE)))

    first, second = asyncio.run(both())
    assert first is second


def test_another_certificate_is_another_talk() -> None:
    talks = talks_of()
    shown = Caller(address="10.0.0.1", certificate=Certificate(name="rover-01", until=1.0))
    assert talk(talks, b"a").connection != talk(talks, b"a", caller=shown).connection
