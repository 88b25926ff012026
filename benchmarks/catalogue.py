"""What it takes to open a catalogue of a million episodes, to filter it, and to follow one through its versions.

Each question is asked by a process of its own, as a person does: the time is from opening the store to the answer, the
memory that of the whole process. The store is a local folder, so that no network is measured. Beside the filter, the
same columns of the same rows are read from one Parquet file and filtered by pyarrow alone.
`python -m benchmarks.catalogue --json FILE [--quick]`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.catalogue_question import QUERY, QUESTIONS, filtered
from benchmarks.measuring import PACKAGES, speed, timed
from benchmarks.report import Row, arguments_of, measured, tell
from benchmarks.synthetic_catalogue import fill, versions, with_objects
from volano.data.catalogue import extend
from volano.data.catalogue_query import SHOWN
from volano.data.catalogue_rows import EPISODES
from volano.data.pages import pages, read
from volano.storage.folder import FolderStore

EPISODES_HELD, VERSIONS_HELD = 10**6, 20
_LIMITS = (("seconds", 2.0, 1.0), ("bytes", 1e9, 5e8))
"""What each answer must and should take at most."""


def ask(question: str, store: Path, episode: str) -> dict[str, float]:
    """Seconds, peak bytes and answer of a process that asks."""
    command = [sys.executable, "-m", "benchmarks.catalogue_question", question, str(store), episode]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def scan(path: Path) -> int:
    """The limit: one file, read and filtered."""
    where = (pc.field("robot") == QUERY.robot) & (pc.field("task") == QUERY.task) & pc.field("success")
    return len(pq.read_table(path, columns=list(SHOWN), filters=where, use_threads=False))


def filled(store: FolderStore, one_file: Path, count: int) -> str:
    """Fill a store with so many episodes, and a file with the same rows; the name of one that all versions hold."""
    contents = fill(store, count - 1, seed=0)
    [key] = with_objects(store, 1, seed=1)
    extend(store)
    [last] = [rows["content_id"][-1].as_py() for rows in read(store, EPISODES, pages(store, EPISODES)[-1:])]
    versions(store, [last, *contents], VERSIONS_HELD)
    whole = pa.concat_tables(read(store, EPISODES, pages(store, EPISODES))).cast(EPISODES.schema)
    pq.write_table(whole, one_file, compression="zstd", use_dictionary=list(EPISODES.repeated))
    return key.removeprefix("verdicts/").removesuffix(".json")


def measure(store: FolderStore, one_file: Path, count: int, rounds: int) -> list[Row]:
    """Fill the store, and ask."""
    episode = filled(store, one_file, count)
    asked: dict[str, list[dict[str, float]]] = {question: [] for question in QUESTIONS}
    ours, bare = list[float](), list[float]()
    for _ in range(rounds):
        for question, answers in asked.items():
            answers.append(ask(question, store.root, episode))
        ours.append(timed(lambda: filtered(store.url)).cpu)
        bare.append(timed(lambda: scan(one_file)).cpu)
    expected = dict(zip(QUESTIONS, (scan(one_file), count, VERSIONS_HELD), strict=True))
    for question, answers in asked.items():
        assert {one["answer"] for one in answers} == {expected[question]}, question
    found = [
        measured(f"{question}, {count} episodes: {what}", [one[what] for one in answers], unit=what, must=must, aim=aim)
        for question, answers in asked.items()
        for what, must, aim in _LIMITS
    ]
    return [*found, speed("open and filter", ours, bare, "one Parquet file of the same rows, by pyarrow")]


def main() -> None:
    """Measure, write, print."""
    arguments = arguments_of(__doc__, "a twentieth of the episodes, within a minute").parse_args()
    count, rounds = (EPISODES_HELD // 20, 2) if arguments.quick else (EPISODES_HELD, 7)
    with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
        (Path(scratch) / "store").mkdir()
        found = measure(FolderStore(Path(scratch) / "store"), Path(scratch) / "one.parquet", count, rounds)
    also = {"episodes": count, "versions": VERSIONS_HELD}
    tell("catalogue", arguments.json, quick=arguments.quick, rows=found, packages=PACKAGES, **also)


if __name__ == "__main__":
    main()
