"""A bundle is what ingest accepts, or it is torn and says so; no kill makes anything between."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import KNOWN, POLICY, ROVER, draw, read_number
from tests.unit.data.recording import OUTCOME, add, record, recorder
from tests.unit.storage.faults import Sweep, fail, swept
from volano.data.bundle import MANIFEST_FILE, read_manifest
from volano.data.episode import STEPS_FILE, Segment, video_file
from volano.data.steps import read_steps
from volano.data.upload import pending
from volano.data.validate import check_bundle, check_claims
from volano.data.video import decode
from volano.errors import Code, DataError


def test_ingest_accepts_what_is_recorded(tmp_path: Path) -> None:
    bundle = record(tmp_path, frames=40)
    manifest = read_manifest(bundle)
    assert check_claims(manifest, "uploads/rover-01/attempt-0001.json", KNOWN) is None
    assert check_bundle(bundle, manifest, ROVER) is None
    assert {path.name for path in bundle.iterdir()} == {*manifest.files, MANIFEST_FILE}


def test_a_row_is_the_observation_before_its_action(tmp_path: Path) -> None:
    bundle = record(tmp_path, frames=12)
    manifest = read_manifest(bundle)
    steps = read_steps(bundle / STEPS_FILE, ROVER, frames=12)
    np.testing.assert_allclose(steps.state[:, 0], np.arange(12) / 100, rtol=1e-6)
    np.testing.assert_allclose(steps.action[:, 1], np.arange(12) / 100, rtol=1e-6)
    np.testing.assert_allclose(steps.timestamp, np.arange(12) / ROVER.rate_hz)
    for camera in ROVER.cameras:
        assert [read_number(frame) for frame in decode(bundle / video_file(camera.name))] == list(range(12))
    assert manifest.segments == (
        Segment(start=0, end=6, kind="autonomous"),
        Segment(start=6, end=12, kind="intervention"),
    )
    assert manifest.policies == (POLICY,)
    assert steps.policy == [POLICY] * 6 + [""] * 6
    assert steps.request[:6] == ["r0"] * 4 + ["r1"] * 2


def test_a_buffer_may_be_used_again(tmp_path: Path) -> None:
    state, action = np.zeros(2, np.float32), np.zeros(2, np.float32)
    images = {camera.name: draw(0, camera.height, camera.width) for camera in ROVER.cameras}
    with recorder(tmp_path, "a") as recording:
        for number in range(3):
            state[:], action[:] = number, number / 10
            recording.tick(
                number / 10, images, state, action, segment="autonomous", policy="", request="", executed="fallback"
            )
        bundle = recording.finish(OUTCOME)
    steps = read_steps(bundle / STEPS_FILE, ROVER, frames=3)
    np.testing.assert_allclose(steps.state[:, 0], [0, 1, 2])
    np.testing.assert_allclose(steps.action[:, 0], [0, 0.1, 0.2])


def good_tick() -> dict[str, Any]:
    return {
        "timestamp": 0.0,
        "images": {camera.name: draw(0, camera.height, camera.width) for camera in ROVER.cameras},
        "state": np.zeros(2, np.float32),
        "action": np.zeros(2, np.float32),
        "segment": "autonomous",
        "policy": POLICY,
        "request": "r",
        "executed": "policy",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"images": {"ego": draw(0, 64, 64)}}, Code.DATA_CONTRACT),
        ({"images": {"ego": draw(0, 48, 64), "rear": draw(0, 48, 64)}}, Code.DATA_CONTRACT),
        ({"images": {"ego": draw(0, 64, 64), "rear": draw(0, 48, 64) / 255}}, Code.DATA_CONTRACT),
        ({"state": np.zeros(3, np.float32)}, Code.DATA_CONTRACT),
        ({"action": np.zeros((1, 2), np.float32)}, Code.DATA_CONTRACT),
        ({"segment": "human"}, Code.DATA_SCHEMA),
        ({"executed": "human"}, Code.DATA_SCHEMA),
        ({"executed": "expert"}, Code.DATA_SCHEMA),
        ({"policy": ""}, Code.DATA_SCHEMA),
        ({"request": "r\ud800"}, Code.DATA_SCHEMA),
    ],
)
def test_a_wrong_tick_is_refused_and_not_recorded(tmp_path: Path, changes: dict[str, Any], code: Code) -> None:
    with recorder(tmp_path, "a") as recording:
        recording.tick(**good_tick())
        with pytest.raises(DataError) as caught:
            recording.tick(**{**good_tick(), **changes})
        assert caught.value.code is code
        recording.tick(**{**good_tick(), "timestamp": 0.1})
        bundle = recording.finish(OUTCOME)
    manifest = read_manifest(bundle)
    assert manifest.frames == 2
    assert check_bundle(bundle, manifest, ROVER) is None


def test_an_attempt_without_a_tick_is_no_episode(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording, pytest.raises(DataError):
        recording.finish(OUTCOME)
    assert pending(tmp_path) == []


def test_an_attempt_ends_once(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        add(recording, 0)
        bundle = recording.finish(OUTCOME)
        before = (bundle / MANIFEST_FILE).read_bytes()
        for again in (lambda: add(recording, 1), lambda: recording.finish(OUTCOME)):
            with pytest.raises(DataError) as caught:
                again()
            assert caught.value.code is Code.DATA_RECORDING
    assert (bundle / MANIFEST_FILE).read_bytes() == before


def test_names_stay_within_the_folder(tmp_path: Path) -> None:
    for attempt in ("", ".", "..", "../a", "a/b", "/tmp"):
        with pytest.raises(DataError):
            recorder(tmp_path / "in", attempt)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_attempt_is_never_recorded_over(tmp_path: Path) -> None:
    content = read_manifest(record(tmp_path)).content_id
    with pytest.raises(DataError) as caught:
        recorder(tmp_path, "attempt-0001")
    assert caught.value.code is Code.DATA_ATTEMPT
    assert read_manifest(tmp_path / "attempt-0001").content_id == content


def test_a_torn_attempt_is_never_pending_and_makes_room(tmp_path: Path) -> None:
    with recorder(tmp_path, "a") as recording:
        add(recording, 0)
    assert pending(tmp_path) == []
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "a")
    assert caught.value.code is Code.DATA_MANIFEST
    bundle = record(tmp_path, "a")
    assert check_bundle(bundle, read_manifest(bundle), ROVER) is None


def test_every_file_is_on_the_disk_before_the_manifest_is(tmp_path: Path) -> None:
    """Fail the k-th system call of `finish`: the bundle is torn, or it is complete."""
    with swept(Sweep(0, fail(5))) as counting:
        record(tmp_path, "count", frames=2)
    calls = counting.names
    assert calls.count("fsync") >= 3 + 1 + 2, "three files, the manifest and the folder around it"
    for position in range(1, len(calls) + 1):
        sweep = Sweep(position, fail(28))
        with suppress(OSError, DataError), swept(sweep):
            record(tmp_path, f"a{position}", frames=2)
        assert sweep.fired
    for bundle in pending(tmp_path):
        assert check_bundle(bundle, read_manifest(bundle), ROVER) is None


@pytest.mark.parametrize("patience_s", [0.0, 0.02, 0.05])
def test_a_killed_recorder_leaves_whole_or_torn_bundles(tmp_path: Path, patience_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.data.recording", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(3)]
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.stdout]
    assert process.wait() == -signal.SIGKILL
    names = [bundle.name for bundle in pending(tmp_path)]
    assert set(told) <= set(names), "what was reported as finished is there"
    for bundle in pending(tmp_path):
        assert check_bundle(bundle, read_manifest(bundle), ROVER) is None
