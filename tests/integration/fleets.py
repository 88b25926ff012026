"""A real fleet job for the tests: plans, the process, and what the robots' folders and the store say afterwards."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MISBEHAVING = {"scout-02": "truncate", "scout-03": "nan", "scout-04": "resend"}


def attempts(robot: str, number: int, *, tasks: Sequence[str], mode: str = "expert") -> list[dict[str, Any]]:
    """A robot's attempts; their seeds are nobody else's."""
    first_seed = 1000 * int(robot.rpartition("-")[2])
    return [
        {
            "name": f"attempt-{index:04d}",
            "robot": robot,
            "task": tasks[index % len(tasks)],
            "seed": first_seed + index,
            "mode": mode,
            "noise": 0.0,
        }
        for index in range(number)
    ]


def write_plan(home: Path, wanted: list[dict[str, Any]], misbehave: dict[str, str]) -> Path:
    """The plan's file."""
    home.mkdir(parents=True, exist_ok=True)
    plan = home / "plan.json"
    plan.write_text(json.dumps({"attempts": wanted, "misbehave": misbehave}))
    return plan


def environment(**more: str) -> dict[str, str]:
    """Of a process that a user starts in the working copy."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1", **more}


@contextmanager
def started_fleet(home: Path, plan: Path, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """The job as a user starts it, killed at the end if it still runs; what it says can be read from its standard
    error."""
    command = [sys.executable, "-m", "jobs.simulate_fleet", "--home", str(home), "--plan", str(plan), *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run_fleet(home: Path, plan: Path, *options: str) -> tuple[int, str]:
    """Run the job to its end: its exit code, and what it said."""
    with started_fleet(home, plan, *options) as process:
        _, said = process.communicate(timeout=240)
    return process.returncode, said
