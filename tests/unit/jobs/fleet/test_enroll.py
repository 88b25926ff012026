"""Every robot has a key of its own, and enrolling them again changes nothing."""

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

from jobs.fleet.enroll import _key, enroll
from jobs.fleet.identity import read_key
from volano.embodiment.shipped import SCOUT
from volano.ledger.ledger import open_ledger

ROBOTS = ("scout-01", "scout-02", "car-01")


def test_keys_are_distinct_private_and_kept(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        enroll(ledger, tmp_path, ROBOTS[:1], 1.0)
        enroll(ledger, tmp_path, ROBOTS, 2.0)
        keys = {robot: read_key(tmp_path / robot) for robot in ROBOTS}
        enroll(ledger, tmp_path, ROBOTS, 3.0)
        assert {robot: read_key(tmp_path / robot) for robot in ROBOTS} == keys
        assert len(set(keys.values())) == len(ROBOTS)
        known = {robot.id: robot for robot in ledger.robots()}
        assert {robot: known[robot].enrolled_at for robot in ROBOTS} == {
            "scout-01": 1.0,
            "scout-02": 2.0,
            "car-01": 2.0,
        }
        assert known["scout-02"].fingerprint == SCOUT.fingerprint
        assert [row.kind for row in ledger.audit()] == ["robot.enrolled"] * 3
    assert all((tmp_path / robot / "key").stat().st_mode & 0o077 == 0 for robot in ROBOTS)


def test_a_kill_between_the_key_and_the_ledger_is_healed(tmp_path: Path) -> None:
    (tmp_path / "car-01").mkdir()
    (tmp_path / "car-01" / "key").write_text("written-before-the-kill")
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        enroll(ledger, tmp_path, ["car-01"], 1.0)
        robot = ledger.robot_by_key("written-before-the-kill")
        assert robot is not None
        assert robot.id == "car-01"


def _make(folder: Path, start: Event, answers: "multiprocessing.Queue[str]") -> None:
    start.wait()
    answers.put(_key(folder))


def test_two_fleets_at_once_agree_on_a_robot_s_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(10):
        folder, start, answers = tmp_path / str(number), context.Event(), context.Queue()
        fleets = [context.Process(target=_make, args=(folder, start, answers)) for _ in range(4)]
        for fleet in fleets:
            fleet.start()
        start.set()
        assert {answers.get(timeout=10) for _ in fleets} == {read_key(folder)}
        for fleet in fleets:
            fleet.join()
            assert fleet.exitcode == 0


def test_a_robot_that_was_revoked_is_not_let_in_again(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        enroll(ledger, tmp_path, ["car-01"], 1.0)
        ledger.revoke_robot("car-01", "operator", 2.0)
        enroll(ledger, tmp_path, ["car-01"], 3.0)
        assert ledger.robot_by_key(read_key(tmp_path / "car-01")) is None
