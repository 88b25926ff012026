"""A fleet of processes over real simulators, a real store and a real ledger: reason codes, kills, outages."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.fleets import MISBEHAVING, ROOT, attempts, environment, run_fleet, started_fleet, write_plan
from tests.integration.gateways import eventually
from volano.data.bundle import MANIFEST_FILE, read_manifest
from volano.data.conservation import count
from volano.data.verdict import VERDICTS, Verdict
from volano.errors import Code
from volano.ledger.ledger import open_ledger
from volano.storage.open import open_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(find_spec(library) for library in ("metaworld", "miniworld", "highway_env")),
        reason="needs the extra `sim`",
    ),
]
COLOURS = ("red", "blue")


def test_eight_robots_three_of_them_misbehaving_end_with_their_own_codes(tmp_path: Path) -> None:
    wanted = [
        *attempts("sawyer-01", 1, tasks=["drawer-close-v3"]),
        *attempts("car-01", 2, tasks=["straight"]),
        *(one for robot in ("glider-01", "glider-02") for one in attempts(robot, 2, tasks=COLOURS)),
        *(one for robot in ("scout-01", *MISBEHAVING) for one in attempts(robot, 2, tasks=COLOURS)),
    ]
    plan = write_plan(tmp_path, wanted, MISBEHAVING)
    status, said = run_fleet(tmp_path, plan)
    assert status == 0, said
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        assert len(ledger.robots()) == 8

    subprocess.run(
        [sys.executable, "-m", "pipelines.ingest", "--store", str(tmp_path / "store")],
        env=environment(RAY_AUTH_MODE="disabled", RAY_TMPDIR=os.environ.get("RAY_TMPDIR", "/tmp")),
        cwd=ROOT,
        check=True,
        timeout=240,
    )
    store = open_store(str(tmp_path / "store"))
    verdicts = [Verdict.from_bytes(store.get(info.key)) for info in store.list(VERDICTS)]
    by_robot = Counter((verdict.upload.split("/")[1], verdict.verdict, str(verdict.code)) for verdict in verdicts)
    assert by_robot == {
        ("sawyer-01", "accepted", ""): 1,
        **{(robot, "accepted", ""): 2 for robot in ("car-01", "glider-01", "glider-02", "scout-01")},
        ("scout-02", "quarantined", str(Code.DATA_TRUNCATED_VIDEO)): 2,
        ("scout-03", "quarantined", str(Code.DATA_NOT_FINITE)): 2,
        ("scout-04", "accepted", ""): 2,
        ("scout-04", "rejected", str(Code.DATA_DUPLICATE)): 2,
    }
    assert count(store).in_flight == 0


def test_a_fleet_killed_anywhere_continues_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    robots = ("scout-01", "glider-02")
    wanted = [one for robot in robots for one in attempts(robot, 60, tasks=COLOURS)]
    plan = write_plan(tmp_path, wanted, {})
    store = open_store(str(tmp_path / "store"))
    with started_fleet(tmp_path, plan) as killed:
        assert eventually(lambda: len(list(store.list("uploads/"))) >= 10, within_s=120)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=10)  # ends only when no robot holds the pipe: the robots ended with their parent
    before = {info.key: store.get(info.key) for info in store.list("uploads/")}
    assert 10 <= len(before) < len(wanted), "the kill came too late to prove anything"
    torn = tmp_path / "robots" / robots[0] / "bundles" / "attempt-0059"
    torn.mkdir(exist_ok=True)
    (torn / "steps.parquet").write_bytes(b"cut off")

    status, said = run_fleet(tmp_path, plan)
    assert status == 0, said
    after = {info.key: store.get(info.key) for info in store.list("uploads/")}
    assert set(after) == {f"uploads/{one['robot']}/{one['name']}.json" for one in wanted}
    assert before.items() <= after.items(), "an upload changed after the kill"
    assert "120 attempts" in said
    status, said = run_fleet(tmp_path, plan)
    assert (status, "0 robots to run" in said) == (0, True), said


def test_robots_whose_process_is_killed_are_started_again_each_alone(tmp_path: Path) -> None:
    wanted = [one for robot in ("scout-01", "scout-02") for one in attempts(robot, 30, tasks=COLOURS)]
    plan = write_plan(tmp_path, wanted, {})
    store = open_store(str(tmp_path / "store"))
    with started_fleet(tmp_path, plan) as fleet:
        assert eventually(lambda: len(list(store.list("uploads/"))) >= 3, within_s=120)
        children = Path(f"/proc/{fleet.pid}/task/{fleet.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        _, said = fleet.communicate(timeout=120)
    assert fleet.returncode == 0, said
    assert "scout-01, scout-02 ended with status -9, starting again" in said
    assert len(list(store.list("uploads/"))) == 60


def test_a_finished_bundle_that_was_not_uploaded_is_uploaded_as_it_is(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, attempts("scout-01", 1, tasks=["red"]), {})
    assert run_fleet(tmp_path, plan)[0] == 0
    bundle = tmp_path / "robots" / "scout-01" / "bundles" / "attempt-0000"
    recorded_at = (bundle / MANIFEST_FILE).stat().st_mtime_ns
    (bundle / "uploaded").unlink()
    store = open_store(str(tmp_path / "store"))
    store.delete("uploads/scout-01/attempt-0000.json")
    time.sleep(0.01)
    assert run_fleet(tmp_path, plan)[0] == 0
    assert (bundle / MANIFEST_FILE).stat().st_mtime_ns == recorded_at
    assert store.get("uploads/scout-01/attempt-0000.json") == read_manifest(bundle).to_bytes()


def test_an_attempt_that_cannot_be_driven_stops_no_other_and_is_told(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, attempts("scout-01", 3, tasks=["red", "purple", "blue"]), {})
    status, said = run_fleet(tmp_path, plan)
    assert (status, "1 not uploaded" in said, "KeyError: 'purple'" in said) == (1, True, True), said
    store = open_store(str(tmp_path / "store"))
    assert [info.key[-9:] for info in store.list("uploads/")] == ["0000.json", "0002.json"]
