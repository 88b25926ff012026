"""A journal that was cut or damaged anywhere gives back exactly what came before, and nothing else.

`python -m tests.unit.data.test_recording` writes the golden manifest anew.
"""

import json
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import ROVER
from tests.unit.data.recording import OUTCOME, add, record, recorder
from tests.unit.storage.faults import Sweep, fail, swept
from volano.data.assemble import survey
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE
from volano.data.recording import CameraFrame, Entry, Journal, Reader, Start, Tick
from volano.data.upload import pending
from volano.data.video import EncodedFrame
from volano.errors import Code, DataError, StorageError

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle.json"
_START = Start(robot="rover-01", attempt="a", task="go-to", instruction="go", started_at=1.7e9, embodiment=ROVER)


def entry(number: int) -> Entry:
    """A tick with a frame of each camera; the bytes of a frame are of no interest to a journal."""
    tick = Tick(
        timestamp=number / 10,
        state=np.array([number, 0], np.float32),
        action=np.array([0, number], np.float32),
        segment="autonomous",
        policy="",
        request=f"r{number}",
        executed="fallback",
    )
    frames = tuple(
        CameraFrame(
            camera=camera.name,
            headers=b"" if number else b"headers",
            frame=EncodedFrame(data=bytes([number]) * (number + 1), key=number % 3 == 0),
        )
        for camera in ROVER.cameras
    )
    return Entry(tick=tick, frames=frames)


def written(path: Path, count: int) -> tuple[bytes, list[int]]:
    """A journal's bytes, and where each of its entries ends, the start's included."""
    journal = Journal(path, _START)
    ends = [path.stat().st_size]
    for number in range(count):
        journal.append(entry(number))
        ends.append(path.stat().st_size)
    journal.close()
    return path.read_bytes(), ends


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    return written(tmp_path_factory.mktemp("journal") / JOURNAL_FILE, 12)


def read(data: bytes) -> tuple[list[str], Reader]:
    """The requests of the ticks that are believed."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        reader = Reader(file)
        return [one.tick.request for one in reader.entries() if one.tick is not None], reader


def test_what_was_appended_comes_back(sound: tuple[bytes, list[int]]) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(sound[0])
        file.seek(0)
        reader = Reader(file)
        found = list(reader.entries())
    assert reader.start == _START
    assert (reader.left, reader.reason) == (0, "")
    for number, one in enumerate(found):
        expected = entry(number)
        assert one.frames == expected.frames
        assert one.tick is not None
        assert expected.tick is not None
        np.testing.assert_array_equal(one.tick.state, expected.tick.state)
        np.testing.assert_array_equal(one.tick.action, expected.tick.action)
        assert (one.tick.timestamp, one.tick.request) == (expected.tick.timestamp, expected.tick.request)


def test_a_cut_anywhere_leaves_every_entry_before_it(sound: tuple[bytes, list[int]]) -> None:
    data, ends = sound
    for cut in range(ends[0], len(data) + 1):
        requests, reader = read(data[:cut])
        assert len(requests) == sum(end <= cut for end in ends[1:])
        assert bool(reader.reason) == (cut not in ends)
    for cut in range(ends[0]):
        with pytest.raises(DataError) as caught:
            read(data[:cut])
        assert caught.value.code is Code.DATA_RECORDING


@settings(max_examples=300)
@given(data=st.data())
def test_nothing_behind_a_damaged_byte_is_believed(sound: tuple[bytes, list[int]], data: st.DataObject) -> None:
    content, ends = sound
    at = data.draw(st.integers(ends[0], len(content) - 1))
    length = data.draw(st.integers(1, 40))
    put = data.draw(st.one_of(st.just(bytes(length)), st.binary(min_size=1, max_size=length)))
    spoiled = content[:at] + put + content[at + len(put) :]
    first = next((k for k, (one, two) in enumerate(zip(content, spoiled, strict=False)) if one != two), len(content))
    requests, _ = read(spoiled)
    assert requests == [f"r{number}" for number in range(sum(end <= first for end in ends[1:]))]


def test_entries_in_another_order_or_of_another_journal_are_not_believed(tmp_path: Path) -> None:
    data, ends = written(tmp_path / "one", 4)
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert read(pieces[0] + pieces[2] + pieces[1])[0] == []
    assert read(pieces[0] + pieces[1] + pieces[1])[0] == ["r0"]


def test_a_block_of_zeros_at_the_end_is_no_entry(sound: tuple[bytes, list[int]]) -> None:
    """What some file systems leave behind a power cut."""
    requests, reader = read(sound[0] + bytes(4096))
    assert len(requests) == 12
    assert reader.left == 4096


def tick_of(**changes: object) -> bytes:
    """The payload of an entry without frames."""
    tick = {"timestamp": 1.2, "segment": "autonomous", "policy": "", "request": "", "executed": "expert", **changes}
    return json.dumps({"tick": tick, "frames": []}).encode() + b"\n" + bytes(16)


def test_an_entry_without_frames_is_believed(sound: tuple[bytes, list[int]]) -> None:
    last = struct.unpack("<I", sound[0][sound[1][-2] + 4 : sound[1][-2] + 8])[0]
    payload = tick_of(request="last")
    assert read(sound[0] + struct.pack("<II", len(payload), zlib.crc32(payload, last)) + payload)[0][-1] == "last"


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{}", b"[]\n", b'{"frames": 1}\n', b'{"frames":[["ego","",9,true]]}\nab', b"[" * 100_000),
        *(tick_of(timestamp=time) for time in ("now", None, True, 10**400)),
        *(tick_of(request=text) for text in ("\ud800", 5, None)),
        tick_of(more=1),
    ],
    ids=range(14),
)
def test_an_entry_of_another_form_ends_what_is_believed(sound: tuple[bytes, list[int]], payload: bytes) -> None:
    data, ends = sound
    last = struct.unpack("<I", data[ends[-2] + 4 : ends[-2] + 8])[0]
    strange = struct.pack("<II", len(payload), zlib.crc32(payload, last)) + payload
    requests, reader = read(data + strange)
    assert len(requests) == 12
    assert reader.left == len(strange)


def test_a_finished_bundle_is_byte_for_byte_what_it_always_was(tmp_path: Path) -> None:
    assert (record(tmp_path, frames=40) / MANIFEST_FILE).read_bytes() == GOLDEN.read_bytes().strip()


def test_what_a_tick_returned_for_is_in_the_journal(tmp_path: Path) -> None:
    """Read as a process would that finds the file after SIGKILL."""
    with recorder(tmp_path, "a") as recording:
        for number in range(30):
            add(recording, number)
            with (tmp_path / "a" / JOURNAL_FILE).open("rb") as file:
                found = survey(file)
            assert found.ticks == number + 1
            assert 0 <= number + 1 - found.whole <= 12
            assert (found.bytes_left, found.reason) == (0, "")


def test_the_journal_is_synced_every_two_seconds_and_at_its_start(tmp_path: Path) -> None:
    with swept(Sweep(0, fail(5))) as counting, recorder(tmp_path, "a") as recording:
        start = counting.names.count("fsync")
        for number in range(60):
            add(recording, number)
    assert start == 3, "the folder around, the journal and its entry"
    assert counting.names.count("fsync") - start == 60 / (ROVER.rate_hz * 2)


@pytest.mark.parametrize(("number", "code"), [(28, Code.STORE_FULL), (5, Code.STORE_UNAVAILABLE)])
def test_a_full_disk_ends_the_recording_and_what_came_before_is_kept(tmp_path: Path, number: int, code: Code) -> None:
    with recorder(tmp_path, "a") as recording:
        for tick in range(20):
            add(recording, tick)
        with swept(Sweep(1, fail(number))), pytest.raises(StorageError) as caught:
            add(recording, 20)
        assert caught.value.code is code
        for again in (lambda: add(recording, 21), lambda: recording.finish(OUTCOME)):
            with pytest.raises(DataError) as refused:
                again()
            assert refused.value.code is Code.DATA_RECORDING
    assert pending(tmp_path) == []
    with (tmp_path / "a" / JOURNAL_FILE).open("rb") as file:
        assert survey(file).ticks == 20


def test_a_sync_that_fails_is_told(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        for tick in range(19):
            add(recording, tick)
        with swept(Sweep(2, fail(5))):
            add(recording, 19)
            for tick in range(20, 39):
                add(recording, tick)
            with pytest.raises(StorageError):
                add(recording, 39)


def test_an_attempt_under_way_is_not_recorded_over(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        add(recording, 0)
        with pytest.raises(DataError) as caught:
            recorder(tmp_path, "a")
        assert caught.value.code is Code.DATA_ATTEMPT
        recording.finish(OUTCOME)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        GOLDEN.write_bytes((record(Path(place), frames=40) / MANIFEST_FILE).read_bytes() + b"\n")
