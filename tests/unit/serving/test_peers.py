"""Clients that are known by their connection: each its own newest observation, and only so many of them."""

import asyncio
from dataclasses import replace

from serving.exchange import Conversation
from serving.peers import IDLE_S, Peer, Peers, Waiting
from serving.routes import RobotRecord
from tests.unit.inference.protocols.lerobot_frames import SO101, pickled, setup
from volano.inference.protocols.dialect import Observed
from volano.inference.protocols.lerobot import Moment, read_setup

_SETUP = read_setup(pickled(setup()))


def peer(robot: str = "so101-07", heard: float = 0.0) -> Peer:
    record = RobotRecord(id=robot, embodiment=SO101)
    conversation = Conversation(connection="c", key_sha256="0" * 64, robot=record, protocol="lerobot")
    return Peer(conversation=conversation, setup=_SETUP, heard=heard)


def waiting(timestep: int, must_go: bool = False) -> Waiting:
    moment = Moment(timestamp=0.0, timestep=timestep, must_go=must_go)
    return Waiting(observed=Observed(observation={"number": timestep}), moment=moment, received=0.0)


def taken(one: Peer, patience_s: float = 0.0) -> int | None:
    found = asyncio.run(one.take(patience_s))
    return None if found is None else found.moment.timestep


def test_the_newest_observation_wins_and_is_answered_once() -> None:
    one = peer()
    for timestep in range(3):
        one.offer(waiting(timestep))
    assert (taken(one, 1.0), taken(one)) == (2, None)


def test_a_moment_that_has_its_actions_gets_no_second_chunk_unless_none_are_left() -> None:
    one = peer()
    one.answered(waiting(7).moment)
    one.offer(waiting(7))
    assert taken(one, 0.01) is None
    one.offer(waiting(7, must_go=True))
    assert taken(one, 1.0) == 7
    one.offer(waiting(8))
    assert taken(one, 1.0) == 8
    one.offer(waiting(0))
    assert taken(one, 1.0) == 0, "a robot that begins anew counts from 0"


def test_a_question_waits_for_what_comes_later() -> None:
    async def ask() -> int | None:
        one = peer()
        asyncio.get_running_loop().call_later(0.05, one.offer, waiting(3))
        found = await one.take(10.0)
        return None if found is None else found.moment.timestep

    assert asyncio.run(ask()) == 3


def test_a_robot_that_comes_back_again_and_again_loses_its_oldest_connection() -> None:
    peers = Peers()
    assert peers.admit("b", peer("another"))
    for number in range(20):
        assert peers.admit(f"a{number}", peer())
    assert len(peers) == 9
    assert peers.find("a11", 0.0) is None
    assert peers.find("a12", 0.0) is not None
    assert peers.find("b", 0.0) is not None


def test_there_is_room_for_so_many_and_silence_makes_room() -> None:
    peers = Peers()
    admitted = [peers.admit(str(number), peer(str(number), heard=number / 1e6)) for number in range(1025)]
    assert admitted == [True] * 1024 + [False]
    heard = peers.find("5", IDLE_S)
    assert heard is not None
    assert peers.admit("new", peer("new", heard=IDLE_S + 1))
    assert len(peers) == 2, "all but the one that was heard and the new one were silent"
    assert peers.find("5", 2 * IDLE_S) is heard
    assert peers.find("5", 3 * IDLE_S + 1) is None


def test_whoever_says_anew_who_it_is_takes_nothing_over() -> None:
    peers = Peers()
    old = peer()
    old.offer(waiting(1))
    assert peers.admit("a", old)
    peers.forget("a")
    assert peers.find("a", 0.0) is None
    assert peers.admit("a", replace(peer(), heard=1.0))
    new = peers.find("a", 1.0)
    assert new is not None
    assert taken(new) is None


def test_a_connection_of_one_robot_is_never_anothers() -> None:
    """Two clients in one process share a connection, also when the second begins before the first has asked."""
    peers = Peers()
    assert not peers.is_anothers("ipv4:127.0.0.1:5", "so101-08")
    assert peers.admit("ipv4:127.0.0.1:5", peer("so101-07"))
    peers.forget("ipv4:127.0.0.1:5")
    assert peers.is_anothers("ipv4:127.0.0.1:5", "so101-08")
    assert not peers.is_anothers("ipv4:127.0.0.1:5", "so101-07")
    assert not peers.is_anothers("ipv4:127.0.0.1:6", "so101-08")
