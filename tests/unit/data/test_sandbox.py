"""The checking child is limited, and its death condemns only the upload that caused it."""

import json
import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import ROVER, Draft, claims_with, manifest_of, write_bundle
from tests.unit.data.defects import DEFECTS
from volano.data import sandbox
from volano.data.episode import STEPS_FILE, FileEntry, video_file
from volano.data.finding import Finding
from volano.data.sandbox import Bundle, Limits, Sound, check_bundles, examine_bundles
from volano.data.sketch import sketch_episode
from volano.data.sketch_record import to_bytes
from volano.errors import Code, SystemMissingError

_EGO = video_file("ego")


def clean(folder: Path, seed: int = 0) -> Bundle:
    return Bundle(folder=folder, manifest=write_bundle(folder, Draft(seed=seed)), embodiment=ROVER)


def endless(folder: Path) -> Bundle:
    """A bundle whose check takes more processor time than a second: a file of 64 GiB that takes no disk."""
    manifest = write_bundle(folder, Draft())
    os.truncate(folder / STEPS_FILE, 64 << 30)
    huge = FileEntry(size=64 << 30, sha256="0" * 64)
    return Bundle(
        folder=folder, manifest=claims_with(manifest, files={**manifest.files, STEPS_FILE: huge}), embodiment=ROVER
    )


def test_one_child_answers_for_a_batch_in_order(tmp_path: Path) -> None:
    code, spoil = DEFECTS["NaN action"]
    bad = Bundle(folder=tmp_path / "bad", manifest=spoil(tmp_path / "bad", Draft()), embodiment=ROVER)
    findings = check_bundles([clean(tmp_path / "a"), bad, clean(tmp_path / "b")], Limits())
    assert [finding and finding.code for finding in findings] == [None, code, None]


def test_of_a_sound_episode_it_brings_the_sketch(tmp_path: Path) -> None:
    code, spoil = DEFECTS["NaN action"]
    bad = Bundle(folder=tmp_path / "bad", manifest=spoil(tmp_path / "bad", Draft()), embodiment=ROVER)
    sound = clean(tmp_path / "sound")
    known, refused = examine_bundles([sound, bad], Limits())
    expected = sketch_episode(sound.folder, sound.manifest, ROVER)
    assert known == Sound(record=to_bytes(expected))
    assert isinstance(refused, Finding)
    assert refused.code == code


def test_a_sketch_that_is_too_large_is_left_for_later(tmp_path: Path) -> None:
    assert (
        examine_bundles([clean(tmp_path / "a"), clean(tmp_path / "b", seed=1)], Limits(answer_bytes=2000)) == [None] * 2
    )


@pytest.mark.parametrize("answer", ["other", "twice", "no hash", "[]", "7", '{"code": "E-DATA-999"}', "", "{}", "nul"])
def test_a_child_that_was_taken_over_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sandbox, "_CHILD", "tests.unit.data.lying_child")
    sound, other = clean(tmp_path / "a"), clean(tmp_path / "b", seed=1)
    record = to_bytes(sketch_episode(sound.folder, sound.manifest, ROVER)).decode()
    said = {
        "other": to_bytes(sketch_episode(other.folder, other.manifest, ROVER)).decode(),
        "twice": f"{record}\n{record}",
        "no hash": record.replace('"rows":20', '"rows":21'),
    }
    bundle = replace(sound, manifest=claims_with(sound.manifest, task=json.dumps(said.get(answer, answer))))
    [found] = examine_bundles([bundle], Limits())
    assert isinstance(found, Finding)
    assert found.code == Code.DATA_DECODER


def test_a_poisonous_upload_condemns_only_itself(tmp_path: Path) -> None:
    bundles = [clean(tmp_path / "a"), endless(tmp_path / "poison"), clean(tmp_path / "b", seed=1)]
    findings = check_bundles(bundles, Limits(cpu_s=1))
    assert findings[0] is None
    assert findings[2] is None
    assert findings[1] is not None
    assert findings[1].code == Code.DATA_DECODER
    assert "status -24" in findings[1].evidence


def test_a_hanging_child_is_killed(tmp_path: Path) -> None:
    [finding] = check_bundles([endless(tmp_path / "poison")], Limits(wall_s=8))
    assert finding is not None
    assert finding.code == Code.DATA_DECODER


@pytest.mark.parametrize("limits", [Limits(address_space_bytes=64 << 20), Limits(open_files=2)])
def test_a_child_that_cannot_start_condemns_nobody(tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(SystemMissingError) as caught:
        check_bundles([clean(tmp_path / "a")], limits)
    assert caught.value.code == Code.SYSTEM_SANDBOX


def test_a_child_killed_from_outside_condemns_nobody(tmp_path: Path) -> None:
    """A cluster that ends, or a kernel short of memory, kills children; the upload is not to blame."""
    found: list[Finding | None] = []
    bundle = endless(tmp_path / "slow")
    thread = threading.Thread(target=lambda: found.extend(check_bundles([bundle], Limits())))
    thread.start()
    kill_child_that_reads(bundle.folder / STEPS_FILE)
    thread.join(timeout=60)
    [finding] = found
    assert finding is not None
    assert finding.code == Code.SYSTEM_SANDBOX


def kill_child_that_reads(path: Path) -> None:
    """Kill the child of this process, with -9, as soon as it has opened the file. A child that has just been forked
    still has its parent's files."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in children():
            with suppress(OSError):
                opened = [os.path.realpath(link) for link in Path(f"/proc/{child}/fd").iterdir()]
                if str(path.resolve()) in opened:
                    os.kill(child, signal.SIGKILL)
                    return
        time.sleep(0.05)


def children() -> list[int]:
    lists = [path.read_text().split() for path in Path(f"/proc/{os.getpid()}/task").glob("*/children")]
    return [int(child) for one in lists for child in one]


def test_a_child_inherits_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that inherited this variable could not even start."""
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert check_bundles([clean(tmp_path / "a")], Limits()) == [None]


def test_mutated_videos_get_typed_verdicts(tmp_path: Path) -> None:
    generator = random.Random(7)
    bundles = []
    for number in range(60):
        folder = tmp_path / str(number)
        write_bundle(folder, Draft(frames=8))
        data = bytearray((folder / _EGO).read_bytes())
        for _ in range(generator.randrange(1, 30)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        (folder / _EGO).write_bytes(bytes(data))
        bundles.append(Bundle(folder=folder, manifest=manifest_of(folder, Draft(frames=8)), embodiment=ROVER))
    codes = {finding.code for finding in check_bundles(bundles, Limits()) if finding is not None}
    assert Code.DATA_TRUNCATED_VIDEO in codes
    assert codes <= {
        Code.DATA_TRUNCATED_VIDEO,
        Code.DATA_FRAME_COUNT,
        Code.DATA_CONTRACT,
        Code.DATA_DECODER,
    }
