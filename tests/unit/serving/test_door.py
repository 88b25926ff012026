"""Gateways ask replicas through doors: the right one answers, nobody else gets in, and a replica that dies costs nobody
its answer while there is another."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.door import Address, Door
from serving.frames import decode, encode, send_hello
from serving.pool import Pool
from volano.errors import Code, ContractError, ServeError, VolanoError, WireError
from volano.inference.protocols.arrays import pack
from volano.inference.session import IDENTITY

POLICY, OTHER = "a" * 64, "b" * 64


def observation(robot: str = "rover-01", value: float = 1.0) -> dict[str, Any]:
    images = {"observation/image/ego": np.full((64, 64, 3), int(value), np.uint8)}
    return {**images, "observation/state": np.array([value], np.float32), IDENTITY: {"robot": robot}, "prompt": "go"}


def read(message: Mapping[str, Any]) -> float:
    """The state's value; 99 is a robot that the policy does not know."""
    value = float(message["observation/state"][0])
    if value == 99:
        raise ContractError(Code.CONTRACT_UNKNOWN, "not trained for it", "train")
    assert message["observation/image/ego"].shape == (64, 64, 3)
    return value


def double(work: Sequence[float]) -> list[NDArray[np.float32]]:
    return [np.full((2, 1), 2 * value, np.float32) for value in work]


@contextmanager
def door(compute: Callable[[Sequence[float]], Sequence[NDArray[np.float32]]] = double) -> Iterator[Door[float]]:
    opened = Door(POLICY, read, compute, host="127.0.0.1", most=8)
    try:
        yield opened
    finally:
        opened.close()


def ask(addresses: Sequence[Address], talk: Callable[[Pool], Awaitable[Any]]) -> Any:
    """What comes of a talk through a pool that is connected to these doors."""

    async def main() -> Any:
        pool = Pool()
        pool.attach(asyncio.get_running_loop())
        await asyncio.to_thread(pool.join, POLICY, addresses)
        try:
            return await talk(pool)
        finally:
            pool.close()

    return asyncio.run(main())


@pytest.mark.parametrize("near", [True, False])
def test_every_robot_gets_its_own_answer(near: bool) -> None:
    async def talk(pool: Pool) -> list[float]:
        asked = [pool(POLICY, observation(f"robot-{number}", number), 5.0) for number in range(50)]
        return [float(chunk[0, 0]) for chunk in await asyncio.gather(*asked)]

    with door() as opened:
        address = opened.address if near else replace(opened.address, path="/nowhere")
        assert ask([address], talk) == [2.0 * number for number in range(50)]


@pytest.mark.parametrize("change", [{"token": "0" * 64}, {"token": "é"}, {"port": 1, "path": "/nowhere"}])
def test_nobody_gets_in_without_the_token(change: dict[str, Any]) -> None:
    async def talk(pool: Pool) -> int:
        return pool.count(POLICY)

    with door() as opened:
        assert ask([replace(opened.address, **change)], talk) == 0
        assert ask([opened.address], talk) == 1


def test_a_door_of_another_policy_answers_nobody() -> None:
    async def main() -> int:
        pool = Pool()
        pool.attach(asyncio.get_running_loop())
        await asyncio.to_thread(pool.join, OTHER, [opened.address])
        return pool.count(OTHER)

    with door() as opened:
        assert asyncio.run(main()) == 0


def test_a_refusal_keeps_its_code_and_reaches_its_robot_only() -> None:
    async def talk(pool: Pool) -> list[Any]:
        asked = (pool(POLICY, observation("a", 99), 5.0), pool(POLICY, observation("b", 1), 5.0))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    with door() as opened:
        refused, answered = ask([opened.address], talk)
    assert isinstance(refused, VolanoError)
    assert (refused.code, refused.cause) == (Code.CONTRACT_UNKNOWN, "not trained for it")
    assert answered.tolist() == [[2.0], [2.0]]


def test_a_policy_that_fails_says_nothing_of_itself() -> None:
    def fail(work: Sequence[float]) -> list[NDArray[np.float32]]:
        raise RuntimeError(f"/secret/path {work}")

    async def talk(pool: Pool) -> Any:
        return await pool(POLICY, observation(), 5.0)

    with door(fail) as opened, pytest.raises(ServeError, match="the policy failed") as caught:
        ask([opened.address], talk)
    assert "secret" not in str(caught.value)


def test_what_cannot_be_begun_in_time_is_not_begun() -> None:
    """The second request waits behind the first until it is too late; a third, in time, is answered."""
    began, go = threading.Event(), threading.Event()
    seen: list[list[float]] = []

    def slow(work: Sequence[float]) -> list[NDArray[np.float32]]:
        seen.append(list(work))
        began.set()
        assert go.wait(10)
        return double(work)

    async def talk(pool: Pool) -> list[Any]:
        first = asyncio.ensure_future(pool(POLICY, observation("a", 1), 10.0))
        await asyncio.to_thread(began.wait, 10)
        late = asyncio.ensure_future(pool(POLICY, observation("b", 2), 0.05))
        await asyncio.wait({late})
        third = asyncio.ensure_future(pool(POLICY, observation("c", 3), 10.0))
        await asyncio.sleep(0.1)  # the replica counts from when it was asked
        go.set()
        return list(await asyncio.gather(first, late, third, return_exceptions=True))

    with door(slow) as opened:
        first, late, third = ask([opened.address], talk)
    assert (first[0, 0], third[0, 0]) == (2.0, 6.0)
    assert isinstance(late, ServeError)
    assert late.code is Code.SERVE_TIMEOUT
    assert seen == [[1.0], [3.0]]


def test_what_a_dying_replica_held_is_asked_of_another() -> None:
    began, go = threading.Event(), threading.Event()

    def hang(work: Sequence[float]) -> list[NDArray[np.float32]]:
        began.set()
        go.wait(10)
        return [np.full((2, 1), -1, np.float32)] * len(work)

    async def talk(pool: Pool) -> tuple[float, int]:
        asked = asyncio.ensure_future(pool(POLICY, observation("a", 4), 10.0))
        await asyncio.to_thread(began.wait, 10)
        await asyncio.to_thread(pool.join, POLICY, [well.address])
        await asyncio.to_thread(dying.close)
        return float((await asked)[0, 0]), pool.count(POLICY)

    with door() as well, door(hang) as dying:
        assert ask([dying.address], talk) == (8.0, 1)
        go.set()


def test_a_replica_that_hangs_is_not_preferred() -> None:
    """Nobody waits for its answer any more, and it is busy all the same."""
    go = threading.Event()

    def hang(work: Sequence[float]) -> list[NDArray[np.float32]]:
        go.wait(10)
        return double(work)

    async def talk(pool: Pool) -> list[Any]:
        first = await asyncio.gather(pool(POLICY, observation("a", 1), 0.1), return_exceptions=True)
        await asyncio.to_thread(pool.join, POLICY, [well.address])
        return [*first, *[await pool(POLICY, observation("a", number), 5.0) for number in range(5)]]

    with door() as well, door(hang) as hung:
        late, *answered = ask([hung.address], talk)
        go.set()
    assert isinstance(late, ServeError)
    assert [float(chunk[0, 0]) for chunk in answered] == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_what_ends_a_replica_is_not_tried_on_all_of_them() -> None:
    seen: list[int] = []

    def deadly(number: int) -> Callable[[Sequence[float]], list[NDArray[np.float32]]]:
        def compute(work: Sequence[float]) -> list[NDArray[np.float32]]:
            seen.append(number)
            threading.Thread(target=doors[number].close).start()
            time.sleep(0.3)
            return double(work)

        return compute

    async def talk(pool: Pool) -> int:
        with pytest.raises(ServeError, match="no replica"):
            await pool(POLICY, observation(), 5.0)
        return pool.count(POLICY)

    doors = [Door(POLICY, read, deadly(number), host="127.0.0.1", most=8) for number in range(3)]
    try:
        assert ask([one.address for one in doors], talk) == 1
    finally:
        for one in doors:
            one.close()
    assert len(seen) == 2


def test_an_observation_that_a_policy_cannot_read_harms_nobody_else() -> None:
    async def talk(pool: Pool) -> list[Any]:
        broken = {**observation("a"), "observation/image/ego": np.zeros((1, 1, 3), np.uint8)}
        asked = (pool(POLICY, broken, 5.0), pool(POLICY, observation("b", 1), 5.0))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    with door() as opened:
        refused, answered = ask([opened.address], talk)
    assert isinstance(refused, ServeError)
    assert answered.tolist() == [[2.0], [2.0]]


def test_strangers_do_not_keep_gateways_out() -> None:
    async def talk(pool: Pool) -> int:
        return pool.count(POLICY)

    with door() as opened, ExitStack() as stack:
        for _ in range(80):
            stranger = stack.enter_context(socket.create_connection((opened.address.host, opened.address.port)))
            stranger.sendall(b"\xff" * 8)  # a map of 4 GB
        assert ask([opened.address], talk) == 1


def test_without_a_replica_the_answer_is_a_code() -> None:
    async def talk(pool: Pool) -> Any:
        return await pool(POLICY, observation(), 5.0)

    with pytest.raises(ServeError, match="no replica"):
        ask([], talk)


def test_frames_bring_arrays_as_they_are() -> None:
    arrays: dict[str, NDArray[Any]] = {
        "image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::2],
        "none": np.zeros((0, 3), np.float32),
    }
    pieces = encode({"number": 1, "prefix": {"actions": np.ones((1, 1), np.float32)}}, arrays)
    fields, back = decode(bytes(pieces[1]), memoryview(b"".join(pieces[2:])))
    assert (fields["number"], fields["prefix"]["actions"].tolist()) == (1, [[1.0]])
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())


@pytest.mark.parametrize(
    "places",
    [
        [["a", "|O", [1], -1]],
        [["a", "<f4", [-1], -1]],
        [["a", "<f4", [1 << 40], -1]],
        [["a", "<f4", ["1"], -1]],
        [["a", "<f4", [1], -1], ["b", "<f4", [1], 0]],
        [["a", "<f4", [1]]],
        3,
        [["a"]],
        [],
    ],
)
def test_a_broken_frame_is_refused(places: Any) -> None:
    with pytest.raises(WireError):
        decode(pack({"arrays": places}), memoryview(b"abcd"))


def test_what_a_late_replica_reads_is_not_written_over() -> None:
    """The first robot gave up; its picture stays until the replica is done with it, however many ask meanwhile."""
    began, go = threading.Event(), threading.Event()
    seen: list[list[int]] = []

    def slow(work: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        began.set()
        assert go.wait(10)
        seen.extend(np.unique(image).tolist() for image in work)
        return [np.full((2, 1), image[0, 0, 0], np.float32) for image in work]

    async def talk(pool: Pool) -> tuple[Any, list[float]]:
        def asking(value: int, within_s: float) -> "asyncio.Future[NDArray[np.float32]]":
            slot = pool.slots.take()
            assert slot is not None
            image = np.frombuffer(slot[:12288], np.uint8).reshape(64, 64, 3)
            np.frombuffer(slot[:12288], np.uint8)[:] = value
            return pool(POLICY, {**observation(f"robot-{value}"), "observation/image/ego": image}, within_s)

        first = asking(1, 0.05)
        await asyncio.to_thread(began.wait, 10)
        await asyncio.wait({first})
        others = [asking(value, 10.0) for value in range(2, 60)]
        await asyncio.sleep(0.1)
        go.set()
        return first.exception(), [float(chunk[0, 0]) for chunk in await asyncio.gather(*others)]

    opened = Door(POLICY, lambda message: message["observation/image/ego"], slow, host="127.0.0.1", most=8)
    try:
        late, answers = ask([opened.address], talk)
    finally:
        opened.close()
    assert isinstance(late, ServeError)
    assert answers == list(map(float, range(2, 60)))
    assert sorted(seen) == [[value] for value in range(1, 60)]


def test_memory_that_can_become_shorter_lets_nobody_in() -> None:
    with door() as opened, socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(opened.address.path)
        hello = {"token": opened.address.token, "policy": POLICY, "now": 0.0}
        unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
        os.ftruncate(unsealed, 4096)
        send_hello(stranger, hello, unsealed)
        os.close(unsealed)
        assert stranger.recv(1) == b""
        assert ask([opened.address], _counted) == 1


async def _counted(pool: Pool) -> int:
    return pool.count(POLICY)
