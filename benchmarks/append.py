"""What one more episode costs, by how much there is already: from its upload to the child version that holds it, while
the dataset's files grow to 180 MB; and its row in the catalogue, up to a million.

Everything is counted: the gate's process, joining small files with the new one, merging pages of the catalogue. Beside
it LeRobot's writer saves the same frames, in an environment of its own (`--peer FOLDER`), where there is one.
`python -m benchmarks.append --json FILE [--quick] [--peer FOLDER]`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.attempts import arm, draft, send
from benchmarks.lerobot_peer import PEER, saved
from benchmarks.measuring import PACKAGES, Seconds, exponent, speed, timed
from benchmarks.report import Missing, Row, arguments_of, tell, without
from benchmarks.synthetic_catalogue import fill, with_objects
from volano.data.build import build_version
from volano.data.catalogue import Cataloguer
from volano.data.judge import judge
from volano.data.sandbox import Limits, examine_bundles
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
    [verdict] = judge(store, [upload], known, lambda bundles: examine_bundles(bundles, Limits()))
    assert verdict.verdict == "accepted", verdict
    cataloguer.add([verdict_key(upload)])
    return build_version(store, parent=parent, reason="one more", select=lambda _one: 1.0, known=known).id


def versions(folder: Path, episodes: int) -> tuple[list[tuple[float, Seconds]], float]:
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


def rows(folder: Path, size: Size) -> list[tuple[float, Seconds]]:
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


def measure(folder: Path, size: Size, peer: Path) -> tuple[list[Row], float]:
    """The exponents, and the bytes that files grew to."""
    grown, reached = versions(folder / "versions", size.episodes)
    added = rows(folder / "catalogue", size)
    found = [
        exponent("episode k into a version, CPU", [(k, one.cpu) for k, one in grown], must=_MUST, aim=_AIM),
        exponent("episode k into a version, wall", [(k, one.wall) for k, one in grown]),
        exponent("rows into the catalogue, CPU", [(n, one.cpu) for n, one in added], must=_MUST, aim=_AIM),
        exponent("rows into the catalogue, wall", [(n, one.wall) for n, one in added]),
    ]
    return [*found, *_peer(folder / "lerobot", size, [one for _, one in grown], peer)], reached


def _peer(folder: Path, size: Size, ours: Sequence[Seconds], peer: Path) -> list[Row]:
    metric, last, robot = "LeRobot's writer saves episode k, CPU", max(size.episodes // 8, 1), arm(1, 224, 224)
    drafts = [draft(robot, number, _FRAMES) for number in range(size.episodes)]
    try:
        theirs = saved(peer, folder, drafts, {"preset": "veryfast", "g": "15", "bf": "0", **dict(_FINE)})
    except Missing as error:
        return [without(metric, str(error))]
    mine, others = ([one.cpu for one in some[-last:]] for some in (ours, theirs))
    return [
        exponent(metric, [(k, one.cpu) for k, one in enumerate(theirs, 1)]),
        speed("the last eighth of the episodes", mine, others, "LeRobot's writer"),
    ]


def main() -> None:
    """Measure, write, print."""
    parser = arguments_of(__doc__, "files of 15 MB, a catalogue of 10,000")
    parser.add_argument("--peer", type=Path, default=PEER, help="LeRobot's environment, if there is one")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
        found, reached = measure(Path(scratch), size, arguments.peer)
    also = {"file_bytes": reached, "rows_per_page": _ROWS}
    tell("append", arguments.json, quick=arguments.quick, rows=found, packages=PACKAGES, **also)


if __name__ == "__main__":
    main()
