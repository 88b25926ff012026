"""A gateway's journal loses at most the line a kill tore, and never the robot's answer."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.journal import JsonLines
from serving.routes import ShadowEntry
from volano.data.lines import read_lines

ENTRY = ShadowEntry(
    robot="r",
    episode="e",
    tick=1,
    request="q",
    policy="p",
    shadow="s",
    rollout="",
    distance=0.1,
    clamped=0.0,
    latency_s=0.1,
    problem="",
)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may become larger than that many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_line_that_a_kill_tore_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    path.write_bytes(b'{"robot":"torn')
    for _ in range(2):
        with JsonLines(path) as journal:
            journal(ENTRY)
    assert len(read_lines(path)) == 2


def test_a_full_disk_stops_no_robot_and_tears_one_line(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    with JsonLines(path) as journal:
        journal(ENTRY)
        with disk_of(path.stat().st_size + 10):
            journal(ENTRY)
            journal(ENTRY)
        journal(ENTRY)
    assert len(read_lines(path)) == 2
