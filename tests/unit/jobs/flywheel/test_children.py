"""Children of a driver that dies, and of a child that dies: exactly those are ended, and no stranger is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.flywheel.children import Children
from volano.errors import Code, SystemMissingError

SLEEPER = ["/bin/sleep", "60"]
PARENT = ["/bin/sh", "-c", "sleep 60 & echo $! > {note}; wait"]


def children(folder: Path) -> Children:
    return Children(folder, {"WHO": "a child"})


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_driver_that_was_killed_leaves_children_that_the_next_one_ends(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from jobs.flywheel.children import Children
Children(Path({str(tmp_path)!r}), {{}}).start("sleeper", {SLEEPER!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    driver = subprocess.run([sys.executable, "-c", code], check=False)
    assert driver.returncode == -signal.SIGKILL
    pid = int((tmp_path / "sleeper.pid").read_text())
    later = children(tmp_path)
    assert later.alive("sleeper")
    later.sweep()
    assert gone(pid)
    assert not later.alive("sleeper")


def test_what_a_killed_child_had_started_is_ended_too(tmp_path: Path) -> None:
    mine = children(tmp_path)
    note = tmp_path / "grandchild"
    child = mine.start("parent", [part.format(note=note) for part in PARENT])
    while not note.exists() or not note.read_text().strip():
        time.sleep(0.01)
    grandchild = int(note.read_text())
    child.kill()
    child.wait()
    assert not gone(grandchild)
    mine.sweep()
    assert gone(grandchild)


def test_a_stranger_with_the_number_of_a_child_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEPER, start_new_session=True)
    try:
        note = tmp_path / "sleeper.pid"
        note.write_text(str(stranger.pid))
        os.utime(note, (time.time() - 3600, time.time() - 3600))
        mine = children(tmp_path)
        assert not mine.alive("sleeper")
        mine.sweep()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_child_that_fails_shows_the_end_of_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(
        "import os\nfor n in range(40): print('line', n)\nprint(os.environ['WHO'])\nexit(3)"
    )
    mine = Children(tmp_path / "processes", {"PYTHONPATH": str(tmp_path), "WHO": "a child"})
    with pytest.raises(SystemMissingError) as caught:
        mine.run("job", "failing")
    assert caught.value.code is Code.SYSTEM_CHILD
    assert "status 3" in caught.value.cause
    assert "line 39\na child" in caught.value.cause
    assert "line 3\n" not in caught.value.cause
    assert not list((tmp_path / "processes").glob("*.pid"))


def test_what_a_child_says_is_passed_on_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("jobs.flywheel.children._TELL_S", 0.05)
    (tmp_path / "talker.py").write_text(
        "import time\n"
        "print('2026-01-01 10:00:00,000 1/2 done', flush=True)\n"
        "time.sleep(0.5)\n"
        "print('x' * 5000 + '\\nhalf a line', end='', flush=True)\n"
        "time.sleep(0.5)\n"
    )
    caplog.set_level("INFO")
    Children(tmp_path / "home", {"PYTHONPATH": str(tmp_path)}).run("talker", "talker")
    said = [record.getMessage().strip() for record in caplog.records]
    assert said[0] == "1/2 done"
    assert set(said[1]) == {"x"}
    assert len(said) == 3, "nothing is told twice"
    assert said[-1].startswith("talker: ")


def test_a_child_that_falls_silent_is_ended_with_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.flywheel.children._TELL_S", 0.05)
    monkeypatch.setattr("jobs.flywheel.children._SILENCE_S", 0.2)
    (tmp_path / "silent.py").write_text("import time\ntime.sleep(60)\n")
    mine = Children(tmp_path / "home", {"PYTHONPATH": str(tmp_path)})
    with pytest.raises(SystemMissingError, match="said nothing") as caught:
        mine.run("silent", "silent")
    assert caught.value.code is Code.SYSTEM_CHILD
    assert not mine.alive("silent")
