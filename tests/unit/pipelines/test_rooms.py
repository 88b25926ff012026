"""Rooms hold what was written for a step until its last picture is gone, and nothing is written over what is read."""

import gc
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np
import pytest

from pipelines.rooms import Rooms, Writer, open_rooms

ROOMS, BYTES = 4, 6000


@pytest.fixture
def rooms() -> Rooms:
    return Rooms(ROOMS, BYTES)


@pytest.fixture
def writer(rooms: Rooms) -> Writer:
    found = open_rooms((rooms.place,))
    assert found is not None
    return found


def hand_over(writer: Writer, step: int, size: int = BYTES) -> int:
    taken = writer.take(size, span=0)
    assert taken is not None
    taken[:] = step
    assert writer.owns(taken)
    return writer.hand_over(taken, step)


def test_what_a_decoder_wrote_is_what_the_worker_reads_without_a_copy(rooms: Rooms, writer: Writer) -> None:
    for step in range(3 * ROOMS):
        number = hand_over(writer, step)
        pictures = rooms.pictures(number, step, BYTES)
        assert pictures is not None
        assert (pictures == step).all()
        assert not pictures.flags.writeable
        del pictures
        rooms.begin(step + 1)


def test_a_room_is_kept_for_as_long_as_a_view_of_it_is(rooms: Rooms, writer: Writer) -> None:
    number = hand_over(writer, 7)
    pictures = rooms.pictures(number, 7, BYTES)
    assert pictures is not None
    part = pictures[100:200].reshape(10, 10)
    del pictures
    rooms.begin(8)
    numbers = {hand_over(writer, 8 + other) for other in range(ROOMS - 1)}
    assert number not in numbers
    rooms.begin(20)
    assert hand_over(writer, 20) != number
    assert (part == 7).all()
    del part
    rooms.begin(21)
    assert number in {hand_over(writer, 21 + other) for other in range(ROOMS)}


def test_pictures_outlive_the_rooms_object() -> None:
    rooms = Rooms(ROOMS, BYTES)
    writer = open_rooms((rooms.place,))
    assert writer is not None
    pictures = rooms.pictures(hand_over(writer, 3), 3, BYTES)
    assert pictures is not None
    del rooms, writer
    gc.collect()
    assert (pictures == 3).all()


@pytest.mark.parametrize(
    ("number", "step", "size"),
    [(0, 4, BYTES), (1, 5, BYTES), (-1, 5, BYTES), (ROOMS, 5, BYTES), (0, 5, 0), (0, 5, 1 << 20)],
)
def test_a_room_that_holds_something_else_is_not_read(
    rooms: Rooms, writer: Writer, number: int, step: int, size: int
) -> None:
    assert hand_over(writer, 5) == 0
    assert rooms.pictures(number, step, size) is None
    assert rooms.pictures(0, 5, BYTES) is not None


def test_one_room_cannot_be_shown_twice_at_once(rooms: Rooms, writer: Writer) -> None:
    number = hand_over(writer, 5)
    shown = rooms.pictures(number, 5, BYTES)
    assert shown is not None
    assert rooms.pictures(number, 5, BYTES) is None


def test_one_decoder_writes_and_the_next_takes_back_what_it_was_writing(rooms: Rooms) -> None:
    first = open_rooms((rooms.place,))
    assert first is not None
    assert open_rooms((rooms.place,)) is None
    number = hand_over(first, 5)
    rooms.begin(4)
    taken = [first.take(BYTES, span=0) for _ in range(ROOMS - 1)]
    assert all(one is not None for one in taken)
    assert first.take(BYTES, span=0) is None
    del first, taken
    gc.collect()
    second = open_rooms((rooms.place,))
    assert second is not None
    assert {hand_over(second, 6 + other) for other in range(ROOMS - 1)} == set(range(ROOMS)) - {number}
    pictures = rooms.pictures(number, 5, BYTES)
    assert pictures is not None
    assert (pictures == 5).all()


def test_a_killed_decoder_s_rooms_can_be_had_again(rooms: Rooms) -> None:
    code = (
        "import sys, os, pickle; from pipelines.rooms import open_rooms\n"
        "writer = open_rooms(pickle.loads(bytes.fromhex(sys.argv[1])))\n"
        "taken = writer.take(6000, span=0); taken[:] = 9; print(writer.hand_over(taken, 9), flush=True)\n"
        "writer.take(6000, span=0); os.kill(os.getpid(), 9)"
    )
    place = pickle.dumps((rooms.place,)).hex()
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    number = int(done.stdout)
    writer = open_rooms((rooms.place,))
    assert writer is not None
    assert len({hand_over(writer, step) for step in range(ROOMS - 1)}) == ROOMS - 1
    pictures = rooms.pictures(number, 9, BYTES)
    assert pictures is not None
    assert (pictures == 9).all()


def test_each_decoder_has_rooms_of_its_own(rooms: Rooms) -> None:
    other = Rooms(ROOMS, BYTES)
    both = rooms.place, other.place
    one, two = open_rooms(both), open_rooms(both)
    assert one is not None
    assert two is not None
    assert open_rooms(both) is None
    assert (hand_over(one, 0), hand_over(two, 1)) == (0, ROOMS)
    assert rooms.pictures(0, 0, BYTES) is not None
    assert other.pictures(0, 1, BYTES) is not None


def test_what_was_brought_twice_is_given_back_and_what_is_looked_at_is_not(rooms: Rooms, writer: Writer) -> None:
    numbers = [hand_over(writer, step) for step in (3, 4, 4)]
    shown = rooms.pictures(numbers[0], 3, BYTES)
    rooms.begin(5)
    assert {hand_over(writer, step) for step in (5, 6, 7)} == set(range(ROOMS)) - {numbers[0]}
    assert shown is not None
    assert (shown == 3).all()


def test_what_is_brought_again_for_a_step_that_was_passed_takes_no_room(rooms: Rooms, writer: Writer) -> None:
    rooms.begin(100)
    for step in range(90, 100):
        hand_over(writer, step)
    assert len({hand_over(writer, 100 + other) for other in range(ROOMS)}) == ROOMS


def test_a_decoder_does_not_wait_while_the_worker_does(rooms: Rooms, writer: Writer) -> None:
    """It looks at all that there is, and whatever it needs next has to come from here."""
    held = []
    for step in range(ROOMS):
        number = hand_over(writer, step)
        rooms.begin(step)
        held.append(rooms.pictures(number, step, BYTES))
        rooms.end(step)
    assert writer.take(BYTES, span=0) is None


def test_a_decoder_waits_while_the_worker_is_in_an_earlier_span_and_no_longer_than_it_stays(
    rooms: Rooms, writer: Writer
) -> None:
    for step in range(ROOMS):
        hand_over(writer, 8 + step)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(writer.take, BYTES, span=8)
        assert not wait([waiting], timeout=0.1).done
        rooms.leave()
        assert waiting.result(timeout=5) is None


def test_what_was_being_written_is_free_when_a_span_begins(writer: Writer) -> None:
    assert all(writer.take(BYTES, span=None) is not None for _ in range(ROOMS))
    assert writer.take(BYTES, span=None) is None
    writer.begin()
    assert writer.take(BYTES, span=None) is not None


def test_a_decoder_does_not_wait_where_an_earlier_step_is_still_to_come(rooms: Rooms, writer: Writer) -> None:
    """Ray may let it do a later span first."""
    rooms.begin(7)
    for step in range(ROOMS):
        hand_over(writer, 8 + step)
    assert writer.take(BYTES, span=0) is None


def test_a_decoder_waits_for_a_worker_that_has_not_shown_what_there_is(rooms: Rooms, writer: Writer) -> None:
    for step in range(ROOMS):
        hand_over(writer, step)
    assert writer.take(BYTES, span=None) is None
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(writer.take, BYTES, span=0)
        assert not wait([waiting], timeout=0.1).done
        rooms.begin(1)
        assert waiting.result(timeout=5) is not None


def test_a_decoder_does_not_wait_for_what_another_handed_over_and_died(rooms: Rooms) -> None:
    first = open_rooms((rooms.place,))
    assert first is not None
    for step in range(ROOMS):
        hand_over(first, step)
    del first
    gc.collect()
    second = open_rooms((rooms.place,))
    assert second is not None
    assert second.take(BYTES, span=0) is None
    rooms.begin(2)
    taken = [second.take(BYTES, span=0) for _ in range(3)]
    assert [one is None for one in taken] == [False, False, True]


def test_files_that_are_no_rooms_are_left_alone(rooms: Rooms) -> None:
    with open("/dev/null") as null:
        wrong = [
            replace(rooms.place, token=bytes(32)),
            replace(rooms.place, rooms=ROOMS + 1000),
            replace(rooms.place, descriptor=null.fileno()),
            replace(rooms.place, descriptor=9999),
            replace(rooms.place, process=1 << 22),
        ]
        assert open_rooms(tuple(wrong)) is None
    assert os.fstat(rooms.place.descriptor).st_size == rooms.place.size
    found = open_rooms((*wrong, rooms.place))
    assert found is not None


def test_a_step_that_is_too_large_or_shows_nothing_gets_no_room(writer: Writer) -> None:
    assert writer.take(0, span=0) is None
    assert writer.take(1 << 20, span=0) is None
    assert not writer.owns(np.empty(BYTES, np.uint8))
    assert not writer.owns(np.empty(0, np.uint8))
