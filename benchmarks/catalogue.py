"""What it takes to open a catalogue of a million episodes, to filter it, and to follow one through its versions.

Each question is asked by a process of its own, as a person does: the time is from opening the store to the answer, the
memory that of the whole process. The store is a local folder, so that no network is measured. Beside the filter, the
same columns of the same rows are read from one Parquet file and filtered by pyarrow alone.
`python -m benchmarks.catalogue --json FILE [--quick]`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measuring import Result, report, speed, timed, value
from benchmarks.synthetic_catalogue import fill, versions, with_objects
from volano.data.catalogue import extend
from volano.data.catalogue_query import SHOWN, Query, find, summary
from volano.data.catalogue_rows import EPISODES
from volano.data.pages import pages, read
from volano.flywheel.lineage_records import gather
from volano.flywheel.trace import trace
from volano.storage.folder import FolderStore
from volano.storage.open import open_store

EPISODES_HELD, VERSIONS_HELD = 10**6, 20
_QUERY = Query(robot="robot-0007", outcome="success", task="task 3")
_MUST_S, _AIM_S, _MUST_BYTES, _AIM_BYTES = 2.0, 1.0, 1e9, 5e8


def filtered(store: str, _name: str) -> object:
    """Open and filter."""
    return summary(list(find(open_store(store), _QUERY)))["episodes"]


def counted(store: str, _name: str) -> object:
    """Open and count everything."""
    return summary(list(find(open_store(store), Query())))["episodes"]


def followed(store: str, name: str) -> object:
    """Everything that came from an episode."""
    opened = open_store(store)
    found = trace(opened, gather(opened, None, Path(store) / "runs"), name)
    return len(found.downstream.versions)


QUESTIONS: dict[str, Callable[[str, str], object]] = {"filter": filtered, "count": counted, "lineage": followed}


def ask(question: str, store: Path, name: str) -> dict[str, float]:
    """Seconds, peak bytes and answer of a process that asks."""
    command = [sys.executable, "-m", "benchmarks.catalogue", "--ask", question, "--store", str(store), "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def answer(question: str, store: str, name: str) -> None:
    """In that process."""
    begun = time.perf_counter()
    said = QUESTIONS[question](store, name)
    spent = time.perf_counter() - begun
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # getrusage tells the parent's
    print(json.dumps({"seconds": spent, "bytes": 1024 * int(peak), "answer": said}))


def scan(path: Path) -> int:
    """The limit: one file, read and filtered."""
    where = (pc.field("robot") == _QUERY.robot) & (pc.field("task") == _QUERY.task) & pc.field("success")
    return len(pq.read_table(path, columns=list(SHOWN), filters=where, use_threads=False))


def measure(store: FolderStore, folder: Path, count: int, rounds: int) -> list[Result]:
    """Fill the store, and ask."""
    contents = fill(store, count - 1, seed=0)
    [key] = with_objects(store, 1, seed=1)
    extend(store)
    [last] = [rows["content_id"][-1].as_py() for rows in read(store, EPISODES, pages(store, EPISODES)[-1:])]
    versions(store, [last, *contents], VERSIONS_HELD)
    whole = pa.concat_tables(read(store, EPISODES, pages(store, EPISODES))).cast(EPISODES.schema)
    pq.write_table(whole, folder / "one.parquet", compression="zstd", use_dictionary=list(EPISODES.repeated))
    del whole
    name = key.removeprefix("verdicts/").removesuffix(".json")
    asked: dict[str, list[dict[str, float]]] = {question: [] for question in QUESTIONS}
    ours, bare = [], []
    for _ in range(rounds):
        for question, answers in asked.items():
            answers.append(ask(question, store.root, name))
        ours.append(timed(lambda: filtered(store.url, name)).cpu_s)
        bare.append(timed(lambda: scan(folder / "one.parquet")).cpu_s)
    assert {one["answer"] for one in asked["lineage"]} == {float(VERSIONS_HELD)}
    assert {one["answer"] for one in asked["count"]} == {float(count)}
    assert {one["answer"] for one in asked["filter"]} == {float(scan(folder / "one.parquet"))}
    titles = {"filter": "open and filter", "count": "open and count", "lineage": "versions of an episode"}
    results = [
        value(
            f"{titles[question]}, {count} episodes: {what}",
            [one[what] for one in answers],
            unit=what,
            must=must,
            aim=aim,
        )
        for question, answers in asked.items()
        for what, must, aim in (("seconds", _MUST_S, _AIM_S), ("bytes", _MUST_BYTES, _AIM_BYTES))
    ]
    name = "one Parquet file of the same rows, by pyarrow"
    return [*results, speed("open and filter", ours, bare, name=name, must=None, aim=None)]


def main() -> None:
    """Measure, or answer one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="rough: a twentieth of the episodes, within a minute")
    parser.add_argument("--ask", choices=QUESTIONS, help="of the process that answers")
    parser.add_argument("--store", default="")
    parser.add_argument("--name", default="")
    arguments = parser.parse_args()
    if arguments.ask:
        answer(arguments.ask, arguments.store, arguments.name)
        return
    if arguments.json is None:
        parser.error("--json is required")
    count, rounds = (EPISODES_HELD // 20, 2) if arguments.quick else (EPISODES_HELD, 7)
    with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
        (Path(scratch) / "store").mkdir()
        results = measure(FolderStore(Path(scratch) / "store"), Path(scratch), count, rounds)
    report("catalogue", results, arguments.json, quick=arguments.quick, episodes=count, versions=VERSIONS_HELD)


if __name__ == "__main__":
    main()
