"""The access log is whole lines, never more than it may have of the disk, and keeps nobody waiting."""

import json
import os
import queue
import shutil
import threading
from dataclasses import replace
from pathlib import Path

from serving.access_log import AccessFile
from serving.routes import Access
from tests.unit.serving.test_journal import disk_of
from volano.data.lines import read_lines

ENTRY = Access(
    at=1.0,
    protocol="openpi",
    robot="r",
    episode="e",
    tick=1,
    request="q",
    policy="p",
    rollout="",
    arm="",
    latency_s=0.1,
    read_s=0.01,
    route_s=0.02,
    policy_s=0.07,
    outcome="answered",
)


def test_lines_come_in_order_and_say_where_the_time_went(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b'{"torn')
    dropped: list[int] = []
    with AccessFile(path, 1 << 20, dropped.append) as log:
        for tick in range(50):
            log(replace(ENTRY, tick=tick))
    lines = read_lines(path)
    assert [line["tick"] for line in lines] == list(range(50))
    assert {"at", "read_s", "route_s", "policy_s", "latency_s", "request", "policy"} <= lines[0].keys()


def test_it_never_has_more_of_the_disk_than_it_may(tmp_path: Path) -> None:
    most = 512 << 10
    dropped: list[int] = []
    for _ in range(40):
        with AccessFile(tmp_path / "access.jsonl", most, dropped.append) as log:
            for tick in range(100):
                log(replace(ENTRY, tick=tick))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    assert sum(path.stat().st_size for path in files) <= most
    assert json.loads((tmp_path / "access.jsonl").read_text().splitlines()[-1])["tick"] == 99
    assert dropped == []


def test_a_full_disk_costs_lines_that_are_counted(tmp_path: Path) -> None:
    dropped: list[int] = []
    path = tmp_path / "access.jsonl"
    with disk_of(100), AccessFile(path, 1 << 20, dropped.append) as log:
        log(ENTRY)
    assert sum(dropped) == 1
    with AccessFile(path, 1 << 20, dropped.append) as log:
        log(ENTRY)
    assert len(read_lines(path)) == 1
    assert sum(dropped) == 1


def test_a_disk_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "access.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    dropped: list[int] = []
    log = AccessFile(pipe, 1 << 30, dropped.append)
    done = threading.Event()

    def ask() -> None:
        for _ in range(20_000):
            log(ENTRY)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(30), "the pipe is full and nobody reads it: whoever logs must not notice"
    assert sum(dropped) > 5_000
    os.close(reader)


def test_a_folder_that_is_gone_costs_lines_and_none_goes_elsewhere(tmp_path: Path) -> None:
    folder, lost = tmp_path / "log", queue.SimpleQueue[int]()
    folder.mkdir()
    with AccessFile(folder / "access.jsonl", 8, lost.put) as log:
        shutil.rmtree(folder)
        log(ENTRY)
        lost.get(timeout=10)
        with (tmp_path / "foreign").open("wb") as foreign:  # it gets the lowest number that is free
            log(ENTRY)
            lost.get(timeout=10)
            assert os.fstat(foreign.fileno()).st_size == 0
        folder.mkdir()
        log(ENTRY)
    assert len(read_lines(folder / "access.jsonl")) == 1
