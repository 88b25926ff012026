"""Asks a catalogue one question and prints what it took: the process that `benchmarks.catalogue` starts for each.

`python -m benchmarks.catalogue_question QUESTION STORE EPISODE`.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from volano.data.catalogue_query import Query, find, summary
from volano.flywheel.lineage_records import gather
from volano.flywheel.trace import trace
from volano.storage.open import open_store

QUERY = Query(robot="robot-0007", outcome="success", task="task 3")


def filtered(store: str, _episode: str = "") -> int:
    """Open and filter."""
    return int(summary(list(find(open_store(store), QUERY)))["episodes"])


def counted(store: str, _episode: str) -> int:
    """Open and count everything."""
    return int(summary(list(find(open_store(store), Query())))["episodes"])


def followed(store: str, episode: str) -> int:
    """Every version that holds an episode."""
    opened = open_store(store)
    return len(trace(opened, gather(opened, None, Path(store) / "runs"), episode).downstream.versions)


QUESTIONS: dict[str, Callable[[str, str], int]] = {
    "open and filter": filtered,
    "open and count": counted,
    "versions of an episode": followed,
}


def main() -> None:
    """Seconds from opening the store to the answer, peak bytes of the process, and the answer."""
    question, store, episode = sys.argv[1:]
    begun = time.perf_counter()
    said = QUESTIONS[question](store, episode)
    spent = time.perf_counter() - begun
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # getrusage tells the parent's
    print(json.dumps({"seconds": spent, "bytes": 1024 * int(peak), "answer": said}))


if __name__ == "__main__":
    main()
