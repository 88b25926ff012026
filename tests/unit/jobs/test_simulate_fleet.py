"""Which robots are started again when the process that they shared ended badly."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.simulate_fleet import FleetCommand, run_fleet

STARTED: list[tuple[str, ...]] = []


class Failing(FleetCommand):
    """Processes that end badly at once."""

    def start(self, robots: Sequence[str]) -> "subprocess.Popen[bytes]":
        STARTED.append(tuple(robots))
        return subprocess.Popen([sys.executable, "-S", "-c", "exit(1)"])


def test_only_robots_with_something_left_are_started_again() -> None:
    STARTED.clear()
    command = Failing(home=Path(), plan=Path(), gateway="", timeout_s=1.0)
    run_fleet(command, ["scout-01", "scout-02"], 1, lambda: ["scout-02"])
    assert STARTED == [("scout-01", "scout-02"), ("scout-02",), ("scout-02",)]
