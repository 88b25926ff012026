"""Each worker's own log in the run's folder: what is left to read when the worker, or its machine, is not.

A crash of native code leaves its stacks there as well. Every start begins with a line of facts in JSON. SIGTERM leaves
a stack in a file of its own: what Ray says of such a death depends on who notices it first.
"""

import faulthandler
import json
import logging
import signal
from pathlib import Path

from volano.train.layout import LOGS

_BEGUN = "worker begins: "
_CRASH = "Fatal Python error"
_LAST = 12
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_path(output: Path, rank: int) -> Path:
    """Where a worker's log stands."""
    return output / LOGS / f"rank-{rank}.log"


def open_log(output: Path, rank: int, facts: dict[str, object]) -> None:
    """Send this process's log to the worker's file as well, and begin with `facts`."""
    path = log_path(output, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    faulthandler.enable(stream)
    asked = _asked_path(output, rank).open("w")  # as long as this process lives
    faulthandler.register(signal.SIGTERM, asked, all_threads=False, chain=True)
    root.info("%s%s", _BEGUN, json.dumps(facts))


def was_asked_to_end(output: Path, rank: int) -> bool:
    """Whether a worker's last start was sent SIGTERM, as far as its folder tells."""
    path = _asked_path(output, rank)
    return path.is_file() and path.stat().st_size > 0


def _asked_path(output: Path, rank: int) -> Path:
    return log_path(output, rank).with_suffix(".sigterm")


def last_start(output: Path, rank: int) -> tuple[dict[str, object], list[str]]:
    """Facts of a worker's last start and the last lines it wrote since; nothing of a worker that wrote none."""
    try:
        lines = log_path(output, rank).read_text(errors="replace").splitlines()
    except OSError:
        return {}, []
    begun = max((number for number, line in enumerate(lines) if _BEGUN in line), default=None)
    if begun is None:
        return {}, lines[-_LAST:]
    try:
        facts: dict[str, object] = json.loads(lines[begun].partition(_BEGUN)[2])
    except ValueError:
        facts = {}
    since = lines[begun + 1 :]
    crash = next((number for number, line in enumerate(since) if line.startswith(_CRASH)), None)
    if crash is not None:  # its stacks may be longer than all that is shown
        return facts, since[max(0, crash - _LAST // 2) : crash + _LAST]
    return facts, since[-_LAST:]
