"""What the benchmarks of ingestion have in common: sizes of pictures, each measured alone, the gate, and the version.

One set of attempts is made for a size, and taken in again and again, each time into a store of its own: how they are
taken in is measured, not what they hold.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lerobot_peer import PEER
from benchmarks.measuring import PACKAGES
from benchmarks.report import Row, arguments_of, tell
from volano.data.build import build_version
from volano.data.catalogue import extend
from volano.data.judge import judge
from volano.data.sandbox import Limits, examine_bundles
from volano.embodiment.contract import Embodiment
from volano.storage.store import ObjectStore

CAMERAS = 3


@dataclass(frozen=True, kw_only=True)
class Side:
    """Pictures of one size, and how much of them is taken in, how often."""

    height: int
    width: int
    episodes: int
    frames: int
    repeats: int

    @property
    def pictures(self) -> int:
        """Of all cameras, in one set."""
        return CAMERAS * self.episodes * self.frames

    @property
    def name(self) -> str:
        """In words."""
        return f"{CAMERAS} cameras of {self.height} x {self.width}"


def judged(store: ObjectStore, uploads: Sequence[str], robot: Embodiment, workers: int = 1) -> None:
    """The gate, with so many children at a time as the pipeline has workers, and the rows of the catalogue."""
    known = {robot.fingerprint: robot}

    def some(batch: Sequence[str]) -> set[str]:
        found = judge(store, batch, known, lambda bundles: examine_bundles(bundles, Limits()))
        return {one.verdict for one in found}

    with ThreadPoolExecutor(workers) as pool:
        found = set[str]().union(*pool.map(some, [uploads[first::workers] for first in range(workers)]))
    assert found == {"accepted"}, found
    extend(store)


def built(store: ObjectStore, robot: Embodiment) -> None:
    """The version of all of them."""
    known = {robot.fingerprint: robot}
    build_version(store, parent="", reason="all", select=lambda _one: 1.0, known=known)


def cores() -> int:
    """How many there are."""
    return os.cpu_count() or 1


def run(
    name: str, doc: str | None, sides: Sequence[Side], quick: Side, measure: Callable[[Path, Side, Path], list[Row]]
) -> None:
    """Measure each size in a folder of its own, write, print: the command line of a benchmark of ingestion."""
    parser = arguments_of(doc, "few short episodes, small pictures")
    parser.add_argument("--peer", type=Path, default=PEER, help="LeRobot's environment, if there is one")
    heights = [side.height for side in sides]
    parser.add_argument("--height", type=int, choices=heights, help="pictures of this height only")
    arguments = parser.parse_args()
    found = list[Row]()
    for side in [quick] if arguments.quick else sides:
        if arguments.height in {None, side.height}:
            with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
                found += measure(Path(scratch), side, arguments.peer)
    tell(name, arguments.json, quick=arguments.quick, rows=found, packages=PACKAGES)
