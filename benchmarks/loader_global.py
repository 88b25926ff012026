"""What a globally shuffled sample costs in processor time, over bare random decoding of the same frames.

Films of one to three cameras in H.264 with groups of 2, 15 and 60 frames; batches of 64, a chunk of 50 actions with its
mask. Ours in this process alone, and through Ray Data with all of its processes counted; the floor seeks, sorted, and
decodes. All take turns; every image says which it is. `python -m benchmarks.loader_global --json FILE [--quick]`.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.reading import Floor, Stream, cluster, rated, tell, without_peer
from benchmarks.recorded import Recorded, Shape, checked, record
from benchmarks.report import Row, arguments_of
from pipelines.feed import spans
from volano.data.frames import FrameReader
from volano.data.version import object_key
from volano.storage.ranges import open_ranges

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    shapes: tuple[Shape, ...]
    pairs: int
    steps: int
    """Steps of a turn; through Ray Data as many more than a short run has, whose cost is taken off."""


FULL = Size(
    shapes=tuple(Shape(episodes=96, ticks=150, cameras=2, group=group) for group in (2, 15, 60))
    + tuple(Shape(episodes=96, ticks=150, cameras=cameras) for cameras in (1, 3)),
    pairs=5,
    steps=40,
)
QUICK = Size(shapes=(Shape(episodes=8, ticks=60, cameras=2),), pairs=2, steps=6)
_SHORT = 2


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Samples per CPU-second each way."""

    alone: float
    through_ray: float
    floor: float


class Ways:
    """The ways to read one version."""

    def __init__(self, recorded: Recorded, url: str) -> None:
        self._stream, self._floor = Stream(recorded, url, "uniform", _BATCH), Floor(recorded)
        reader = FrameReader(recorded.footage(), open_ranges(url), partial(object_key, recorded.version.id))
        self._reader = reader

    def turn(self, number: int, steps: int) -> Turn:
        """The same steps each way; another part of an epoch in every turn."""
        first = number * (steps + 2 * _SHORT)
        found = range(first, first + steps)
        if number % 2:
            alone, floor = self._alone(found), self._bare(found)
        else:
            floor, alone = self._bare(found), self._alone(found)
        short = self._stream.read(range(first, first + _SHORT))
        whole = self._stream.read(range(first, first + steps + _SHORT))
        return Turn(alone=alone, through_ray=steps * _BATCH / (whole - short), floor=floor)

    def _alone(self, steps: range) -> float:
        begun = time.process_time()
        shots = self._stream.shots(steps)
        for part in spans(steps, shots.span):
            wanted = [shots.at(step) for step in part]
            for step, numbers, images in zip(part, wanted, self._reader.read(wanted), strict=True):
                self._stream.shown.update(zip(numbers.tolist(), images, strict=True))
                checked(self._stream.feed, step)
                self._stream.shown.clear()
        return len(steps) * _BATCH / (time.process_time() - begun)

    def _bare(self, steps: range) -> float:
        feed = self._stream.feed
        rows = [[feed.place(*pick) for pick in feed.picks(step)] for step in steps]
        begun = time.process_time()
        for found in rows:
            self._floor.read_random(found)
        return len(steps) * _BATCH / (time.process_time() - begun)


def results(shape: Shape, turns: Sequence[Turn]) -> list[Row]:
    """Ratios of each turn."""
    what = f"{shape.cameras} cameras of {shape.side}, groups of {shape.group}"
    floor = [turn.floor for turn in turns]
    return [
        rated(
            f"global shuffle through Ray Data ({what})",
            [turn.through_ray for turn in turns],
            floor,
            "bare sorted random decoding",
            0.7,
            0.9,
        ),
        rated(
            f"global shuffle, the reader alone ({what})",
            [turn.alone for turn in turns],
            floor,
            "bare sorted random decoding",
            None,
            None,
        ),
    ]


def main() -> None:
    """Measure, write, print."""
    arguments = arguments_of(__doc__, "about a minute").parse_args()
    size = QUICK if arguments.quick else FULL
    found: list[Row] = []
    with cluster():
        for shape in size.shapes:
            with tempfile.TemporaryDirectory() as scratch:
                url = str(Path(scratch) / "store")
                ways = Ways(record(Path(scratch), url, shape), url)
                found += results(shape, [ways.turn(number, size.steps) for number in range(size.pairs)])
    found += [
        without_peer("global shuffle over LeRobot with torchcodec", "LeRobot"),
        without_peer("global shuffle over Lance in LeRobot", "Lance"),
    ]
    tell("loader_global", arguments.json, found, quick=arguments.quick)


if __name__ == "__main__":
    main()
