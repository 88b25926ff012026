"""What one more episode costs, by how much there is already: from its upload to the child version that holds it, while
the dataset's files grow to 180 MB; and its row in the catalogue, up to a million.

Everything is counted: the gate's process, joining small files with the new one, merging pages of the catalogue. Beside
it LeRobot's writer saves the same frames, in an environment of its own (`--peer FOLDER`), where there is one.
`python -m benchmarks.append --json FILE [--quick] [--peer FOLDER]`.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.attempts import arm, draft, send
from benchmarks.lerobot_peer import PEER, Missing, saved
from benchmarks.measuring import Result, Spent, missing, report, sloped, timed
from benchmarks.synthetic_catalogue import fill, with_objects
from volano.data.build import build_version
from volano.data.catalogue import Cataloguer
from volano.data.judge import judge
from volano.data.sandbox import Limits, check_bundles
from volano.data.verdict import verdict_key
from volano.data.version import load
from volano.embodiment.contract import Embodiment
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

_MUST, _AIM = 0.1, 0.05
_FRAMES = 60
_ROWS = 16
"""Of a page of the catalogue, as an ingest that runs often writes them."""
_FINE = (("crf", "2"),)
"""Videos of more than a megabyte, so that files grow with few episodes."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How far it goes."""

    episodes: int
    catalogue: tuple[int, ...]
    pages: int
    """Appended at each length of the catalogue."""


FULL = Size(episodes=128, catalogue=(100, 1000, 10_000, 100_000, 1_000_000), pages=64)
QUICK = Size(episodes=10, catalogue=(100, 1000, 10_000), pages=4)


def appended(store: ObjectStore, robot: Embodiment, upload: str, parent: str) -> str:
    """Judge an upload, catalogue it, and make the child that holds it too; the child."""
    known = {robot.fingerprint: robot}
    cataloguer = Cataloguer(store)
    [verdict] = judge(store, [upload], known, lambda bundles: check_bundles(bundles, Limits()))
    assert verdict.verdict == "accepted", verdict
    cataloguer.add([verdict_key(upload)])
    return build_version(store, parent=parent, reason="one more", select=lambda _one: 1.0, known=known).id


def versions(folder: Path, episodes: int) -> tuple[list[tuple[float, Spent]], float]:
    """What each episode took, by its number; and the bytes of all files in the end."""
    robot, parent = arm(1, 224, 224), ""
    (folder / "store").mkdir(parents=True)
    store = FolderStore(folder / "store")
    found = []
    for number in range(episodes):
        wanted = replace(draft(robot, number, _FRAMES), video_options=_FINE)
        upload = send(store, folder / "bundles" / str(number), wanted)
        children: list[str] = []
        spent = timed(lambda: children.append(appended(store, robot, upload, parent)))  # noqa: B023  # done at once
        [parent] = children
        found.append((float(number + 1), spent))
    return found, float(sum(entry.size for entry in load(store, parent).files.values()))


def rows(folder: Path, size: Size) -> list[tuple[float, Spent]]:
    """What a page of rows took, by how many rows there were."""
    folder.mkdir()
    store, there, found = FolderStore(folder), 0, []
    for number, count in enumerate(size.catalogue):
        fill(store, count - there, seed=number)
        keys = with_objects(store, _ROWS * size.pages, seed=number)
        for start in range(0, len(keys), _ROWS):
            cataloguer = Cataloguer(store)
            some = keys[start : start + _ROWS]
            found.append((float(count), timed(lambda: cataloguer.add(some))))  # noqa: B023  # done at once
        there = count + len(keys)
    return found


def measure(folder: Path, size: Size, peer: Path) -> tuple[list[Result], float]:
    """The exponents, and the bytes that files grew to."""
    grown, reached = versions(folder / "versions", size.episodes)
    added = rows(folder / "catalogue", size)
    results = [
        sloped("episode k into a version, CPU", [(k, one.cpu_s) for k, one in grown], must=_MUST, aim=_AIM),
        sloped("episode k into a version, wall", [(k, one.wall_s) for k, one in grown], must=None, aim=None),
        sloped("rows into the catalogue, CPU", [(n, one.cpu_s) for n, one in added], must=_MUST, aim=_AIM),
        sloped("rows into the catalogue, wall", [(n, one.wall_s) for n, one in added], must=None, aim=None),
    ]
    metric, last = "LeRobot's writer saves episode k, CPU", max(size.episodes // 8, 1)
    try:
        robot = arm(1, 224, 224)
        drafts = [draft(robot, number, _FRAMES) for number in range(size.episodes)]
        theirs = saved(peer, folder / "lerobot", drafts, {"preset": "veryfast", "g": "15", "bf": "0", **dict(_FINE)})
    except Missing as error:
        return [*results, missing(metric, str(error), must=None, aim=None)], reached
    results.append(sloped(metric, [(k, one.cpu_s) for k, one in enumerate(theirs, 1)], must=None, aim=None))
    costs = [float(np.mean([one.cpu_s for one in some[-last:]])) for some in ([one for _, one in grown], theirs)]
    row: Result = {"metric": "the last eighth of the episodes", "ours": costs[0], "reference": costs[1], "n": last}
    row |= {"reference_name": "LeRobot's writer", "unit": "CPU-seconds", "ratio": costs[1] / costs[0]}
    return [*results, row | {"low": None, "high": None, "better": "higher", "must": None, "aim": None}], reached


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="rough: files of 15 MB, a catalogue of 10,000")
    parser.add_argument("--peer", type=Path, default=PEER, help="LeRobot's environment, if there is one")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
        results, reached = measure(Path(scratch), size, arguments.peer)
    report("append", results, arguments.json, quick=arguments.quick, file_bytes=reached, rows_per_page=_ROWS)


if __name__ == "__main__":
    main()
