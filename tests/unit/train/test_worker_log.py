"""What a worker that died had to say."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from volano.train.worker_log import last_start, log_path, was_asked_to_end

CRASHES = """
import logging, os, sys
from pathlib import Path
from volano.train.worker_log import open_log
open_log(Path(sys.argv[1]), 1, {"pid": os.getpid(), "start": int(sys.argv[2])})
for step in range(30):
    logging.getLogger("train").info("step %d", step)
os.abort()
"""


def test_the_last_lines_of_the_last_start_survive_a_crash(tmp_path: Path) -> None:
    assert last_start(tmp_path, 1) == ({}, [])
    for start in range(2):
        process = subprocess.run(
            [sys.executable, "-c", CRASHES, str(tmp_path), str(start)], check=False, capture_output=True
        )
        assert process.returncode < 0
    facts, lines = last_start(tmp_path, 1)
    assert facts["start"] == 1
    assert "step 29" in lines[5]
    assert "Fatal Python error: Aborted" in "\n".join(lines), "a native crash leaves its stack"
    log_path(tmp_path, 1).write_text("worker begins: " + json.dumps({"pid": 7}) + "\n")
    assert last_start(tmp_path, 1) == ({"pid": 7}, [])


def test_a_worker_that_was_asked_to_end_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    assert not was_asked_to_end(tmp_path, 1)
    for number, asked in ((signal.SIGTERM, True), (signal.SIGKILL, False)):
        ends = CRASHES.replace("os.abort()", f"os.kill(os.getpid(), {int(number)})")
        process = subprocess.run([sys.executable, "-c", ends, str(tmp_path), "0"], check=False, capture_output=True)
        assert process.returncode == -number, "it ends as it would have"
        assert was_asked_to_end(tmp_path, 1) is asked
