"""Of an attempt that was cut off a whole bundle is made, of all that was written whole; nothing else is touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, ROVER, read_number
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.recording import OUTCOME, add, record, recorder
from tests.unit.storage.faults import Sweep, fail, swept
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE, REPAIRED_FILE, read_manifest
from volano.data.episode import STEPS_FILE, Outcome, Segment, video_file
from volano.data.finding import Finding
from volano.data.judge import judge
from volano.data.repair import Repair, examine, repair
from volano.data.sandbox import Bundle, Limits, check_bundles
from volano.data.steps import read_steps
from volano.data.upload import pending, upload
from volano.data.validate import check_bundle
from volano.data.video import decode
from volano.errors import Code, DataError, StorageError


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    """The real checks without a child."""
    return [check_bundle(bundle.folder, bundle.manifest, bundle.embodiment) for bundle in bundles]


def torn(folder: Path, frames: int, attempt: str = "a", *, helped_from: int = 1 << 30) -> Path:
    """What SIGKILL leaves after so many ticks: the recorder's files as they are, without its lock."""
    with recorder(folder / "live", attempt) as recording:
        for number in range(frames):
            add(recording, number, helped=number >= helped_from)
        shutil.copytree(folder / "live" / attempt, folder / "disk" / attempt)
    return folder / "disk" / attempt


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_whole_is_kept_and_the_rest_told(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 40, helped_from=20)
    [planned] = examine(bundle.parent)
    assert (planned.status, planned.kept + planned.dropped, planned.dropped_bytes) == ("torn", 40, 0)
    assert 0 < planned.dropped <= 12
    assert "encoder" in planned.reason
    [done] = repair(bundle.parent, check)
    assert done.status == "repaired"
    assert (done.kept, done.dropped, done.finding) == (planned.kept, planned.dropped, "")
    manifest = read_manifest(bundle)
    assert manifest.frames == done.kept
    assert manifest.outcome == Outcome(success=False, autonomous=False, source="repair")
    assert manifest.segments == (
        Segment(start=0, end=20, kind="autonomous"),
        Segment(start=20, end=done.kept, kind="intervention"),
    )
    steps = read_steps(bundle / "steps.parquet", ROVER, frames=done.kept)
    assert [round(float(value) * 100) for value in steps.state[:, 0]] == list(range(done.kept))
    for camera in ROVER.cameras:
        assert [read_number(frame) for frame in decode(bundle / video_file(camera.name))] == list(range(done.kept))
    assert {path.name for path in bundle.iterdir()} == {*manifest.files, MANIFEST_FILE, REPAIRED_FILE}


def test_a_repaired_bundle_goes_the_way_of_any_other(tmp_path: Path) -> None:
    bundle, store = torn(tmp_path, 30), MemoryStore()
    [done] = repair(bundle.parent, lambda bundles: check_bundles(bundles, Limits()))
    assert (done.status, done.finding) == ("repaired", "")
    [verdict] = judge(store, [upload(store, bundle).key], KNOWN, check)
    assert verdict.verdict == "accepted"


def test_a_recorder_that_ends_by_an_error_loses_no_tick(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), recorder(tmp_path, "a") as recording:
        for number in range(15):
            add(recording, number)
        raise ZeroDivisionError
    [done] = repair(tmp_path, check)
    assert done == Repair(attempt="a", status="repaired", kept=15)


def test_a_safety_stop_that_a_person_saw_is_in_the_manifest(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 30)
    [done] = repair(bundle.parent, check, {"a": 2})
    assert (done.status, done.safety_stops) == ("repaired", 2)
    assert read_manifest(bundle).outcome == Outcome(success=False, autonomous=True, source="repair", safety_stops=2)
    assert examine(bundle.parent) == [done]


@pytest.mark.parametrize("name", ["whole", "nothing"])
def test_an_attempt_that_is_not_torn_cannot_be_said_to_have_been_stopped(tmp_path: Path, name: str) -> None:
    bundle = torn(tmp_path, 30)
    record(bundle.parent, "whole", 12)
    before = contents(bundle.parent)
    with pytest.raises(DataError, match="only a torn one") as refused:
        repair(bundle.parent, check, {"a": 1, name: 1})
    assert refused.value.code is Code.DATA_RECORDING
    assert contents(bundle.parent) == before


def test_a_second_repair_changes_and_says_nothing_else(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 30)
    first = repair(bundle.parent, check)
    before = contents(bundle)
    assert repair(bundle.parent, check) == first == examine(bundle.parent)
    assert contents(bundle) == before


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 30)
    before = contents(bundle)
    examine(bundle.parent)
    assert contents(bundle) == before


def test_a_whole_bundle_is_never_touched(tmp_path: Path) -> None:
    bundle = record(tmp_path, "a", 12)
    (bundle / JOURNAL_FILE).write_bytes(b"left by a kill behind the commit")
    before = contents(bundle)
    assert repair(tmp_path, check) == [Repair(attempt="a", status="whole")]
    assert contents(bundle) == before


def test_an_attempt_under_way_is_never_touched(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        for number in range(20):
            add(recording, number)
        assert repair(tmp_path, check) == [Repair(attempt="a", status="under way")]
        bundle = recording.finish(OUTCOME)
    assert read_manifest(bundle).frames == 20


@pytest.mark.parametrize("what", ["no journal", "half a start", "no whole tick", "junk"])
def test_what_holds_nothing_is_told_and_left_alone(tmp_path: Path, what: str) -> None:
    bundle = torn(tmp_path, 2 if what == "no whole tick" else 30)
    journal = bundle / JOURNAL_FILE
    if what == "no journal":
        journal.unlink()
    elif what == "half a start":
        journal.write_bytes(journal.read_bytes()[:100])
    elif what == "junk":
        journal.write_bytes(b"\xff" * 1000)
    before = contents(bundle)
    [found] = repair(bundle.parent, check)
    assert (found.status, found.kept) == ("hopeless", 0)
    assert found.reason
    assert contents(bundle) == before


def test_ticks_behind_a_damaged_byte_are_dropped_and_told(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 40)
    data = bytearray((bundle / JOURNAL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / JOURNAL_FILE).write_bytes(data)
    [done] = repair(bundle.parent, check)
    assert done.status == "repaired"
    assert 0 < done.kept < 28
    assert "checksum" in done.reason
    assert done.dropped_bytes > 0
    assert check_bundle(bundle, read_manifest(bundle), ROVER) is None


def test_what_ingest_will_quarantine_is_repaired_and_told(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        for number in (*range(20), *range(200, 220)):
            add(recording, number)
    [done] = repair(tmp_path, check)
    assert (done.status, done.finding) == ("repaired", Code.DATA_CLOCK)


def test_a_check_that_could_not_be_made_leaves_it_torn(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 30)
    [done] = repair(bundle.parent, lambda _bundles: [Finding.of(Code.SYSTEM_SANDBOX, "killed")])
    assert done.status == "torn"
    assert not (bundle / MANIFEST_FILE).exists()
    assert repair(bundle.parent, check)[0].status == "repaired"


def test_an_attempt_with_a_name_that_no_episode_has_does_not_stop_the_others(tmp_path: Path) -> None:
    torn(tmp_path, 30, " bad name")
    torn(tmp_path, 30, "good")
    bad, good = repair(tmp_path / "disk", check)
    assert (bad.status, good.status) == ("hopeless", "repaired")


def test_a_failing_call_anywhere_is_healed_by_repairing_again(tmp_path: Path) -> None:
    original = torn(tmp_path, 30)
    calm = tmp_path / "calm"
    shutil.copytree(original.parent, calm)
    with swept(Sweep(0, fail(5))) as counting:
        repair(calm, check)
    for position in range(1, len(counting.names) + 1):
        disk = tmp_path / f"disk-{position}"
        shutil.copytree(original.parent, disk)
        with swept(Sweep(position, fail(28))), suppress(OSError):
            repair(disk, check)
        repair(disk, check)
        found = {name: data for name, data in contents(disk).items() if "/." not in name}
        assert found.keys() - {"a/recording.journal"} == contents(calm).keys()
        assert all(data == found[name] for name, data in contents(calm).items())


def test_a_killed_robot_loses_no_more_than_its_encoder_held(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.data.recording", str(tmp_path), "100000"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = 0
    while told < 50:
        told = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    told = max([told, *map(int, process.stdout.read().split())])
    process.wait()
    assert pending(tmp_path) == []
    [done] = repair(tmp_path, check)
    assert done.status == "repaired"
    assert done.kept + done.dropped >= told
    assert done.kept >= told - 12
    assert json.loads((tmp_path / "attempt-0000" / REPAIRED_FILE).read_bytes())["kept"] == done.kept
    assert pending(tmp_path) == [tmp_path / "attempt-0000"]


@pytest.mark.parametrize("odd", ["folder", "link", "pipe", "empty"])
def test_a_journal_that_is_none_does_not_stop_the_others(tmp_path: Path, odd: str) -> None:
    disk = torn(tmp_path, 30).parent
    journal = disk / "0" / JOURNAL_FILE
    journal.parent.mkdir()
    if odd == "folder":
        journal.mkdir()
    elif odd == "link":
        journal.symlink_to(disk / "a" / JOURNAL_FILE)
    elif odd == "pipe":
        os.mkfifo(journal)
    else:
        journal.touch()
    assert [one.status for one in examine(disk)] == ["hopeless", "torn"]
    assert [one.status for one in repair(disk, check)] == ["hopeless", "repaired"]


@pytest.mark.parametrize("note", [b"", b"[", b"{}", b"[" * 100_000, b'{"attempt": "a", "kept": 3}'])
def test_a_damaged_note_is_told_and_its_bundle_is_whole(tmp_path: Path, note: bytes) -> None:
    disk = torn(tmp_path, 30).parent
    record(disk, "0", 3)
    (disk / "0" / REPAIRED_FILE).write_bytes(note)
    whole, other = repair(disk, check)
    assert (whole.status, whole.reason) == ("whole", "its note of a repair is damaged")
    assert other.status == "repaired"


def test_a_file_that_cannot_be_written_ends_with_a_code(tmp_path: Path) -> None:
    bundle = torn(tmp_path, 30)
    (bundle / STEPS_FILE).mkdir()
    with pytest.raises(StorageError, match="E-STORE-004"):
        repair(bundle.parent, check)
    (bundle / STEPS_FILE).rmdir()
    assert [one.status for one in repair(bundle.parent, check)] == ["repaired"]
