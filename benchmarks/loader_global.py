"""Processor time of a globally shuffled sample, over bare random decoding of the same frames and over peers.

Films in H.264; batches of 64, a chunk of 50 actions with its mask. Ours in this process alone, and through Ray Data
with all of its processes counted; the floor seeks, sorted, and decodes; LeRobot and Lance read the very files, each in
a process of its own environment. All take turns; every image says which it is.
`python -m benchmarks.loader_global --json FILE [--quick | --wide] [--turns N] [--films FOLDER] [--peers FOLDER]`.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.reader_peers import NAMES, Kind, Reader, reading
from benchmarks.reading import PACKAGES, Floor, Stream, cluster, films_and_peers, rated
from benchmarks.recorded import Recorded, Shape, checked, kept
from benchmarks.report import Row, tell, without
from pipelines.decoder import spans
from volano.data.frames import FrameReader
from volano.storage.ranges import open_ranges

_BATCH = 64
_SHORT = 32
_FLOOR = "bare sorted random decoding"
_BARS: dict[Kind, tuple[float, float]] = {"lerobot": (3, 5), "lance": (1, 1.2)}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    shapes: tuple[Shape, ...]
    pairs: int
    steps: int
    """Steps of a turn through Ray Data, as many more than a short run has, whose cost is taken off; the others take a
    sixth of them."""


_FILMS = Shape(episodes=96, ticks=150, cameras=2)
FULL = Size(shapes=(_FILMS,), pairs=5, steps=120)
WIDE = Size(
    shapes=tuple(replace(_FILMS, group=group) for group in (2, 60))
    + tuple(replace(_FILMS, cameras=cameras) for cameras in (1, 3)),
    pairs=2,
    steps=60,
)
QUICK = Size(shapes=(Shape(episodes=8, ticks=60, cameras=2),), pairs=2, steps=12)


class Ways:
    """The ways to read one version: samples per CPU-second of each."""

    def __init__(self, recorded: Recorded, readers: Mapping[Kind, Reader | str]) -> None:
        self._stream, self._floor = Stream(recorded, recorded.url, "uniform", _BATCH), Floor(recorded)
        self._footage, self._readers = recorded.footage(), readers
        self._reader = FrameReader(self._footage, open_ranges(recorded.url), recorded.keys().__getitem__)

    def warm(self) -> None:
        """What Ray starts once for all."""
        self._stream.read(range(1))

    def turn(self, number: int, steps: int) -> dict[str, float]:
        """The same steps each way; another part of an epoch in every turn. Peers draw their own."""
        first, few = number * (steps + _SHORT), range(number * (steps + _SHORT), number * (steps + _SHORT) + steps // 6)
        found: dict[str, float] = {}
        for way in ("alone", "floor") if number % 2 else ("floor", "alone"):
            found[way] = self._alone(few) if way == "alone" else self._bare(few)
        for kind, reader in self._readers.items():
            if isinstance(reader, Reader):
                found[kind] = reader.rate(len(few) * _BATCH)
        short = self._stream.read(range(first, first + _SHORT))
        whole = self._stream.read(range(first, first + steps + _SHORT))
        return found | {"ray": steps * _BATCH / (whole - short)}

    def _alone(self, steps: range) -> float:
        begun = time.process_time()
        shots = self._stream.shots(steps)
        windows = [[shots.at(step) for step in part] for part in spans(steps, shots.span)]
        wanted = [frames for window in windows for frames in window]
        for step, frames, row in zip(steps, wanted, self._reader.read(windows), strict=True):
            self._stream.shown.update(zip(frames.tolist(), self._footage.images(frames, row), strict=True))
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


def results(shape: Shape, turns: list[dict[str, float]], readers: Mapping[Kind, Reader | str]) -> list[Row]:
    """Ratios of each turn."""
    what = f"{shape.cameras} cameras of {shape.side}, groups of {shape.group}"
    ray, alone = f"global shuffle through Ray Data ({what})", f"global shuffle, the reader alone ({what})"

    def rates(way: str) -> list[float]:
        return [turn[way] for turn in turns]

    found = [
        rated(ray, rates("ray"), rates("floor"), _FLOOR, 0.7, 0.9),
        rated(alone, rates("alone"), rates("floor"), _FLOOR, None, None),
    ]
    for kind, reader in readers.items():
        must, aim = _BARS[kind]
        if isinstance(reader, str):
            found.append(without(f"{ray}, over {NAMES[kind]}", reader))
        else:
            found.append(rated(ray, rates("ray"), rates(kind), NAMES[kind], must, aim))
            found.append(rated(alone, rates("alone"), rates(kind), NAMES[kind], None, None))
    return found


def measured(films: Path, peers: Path, size: Size) -> list[Row]:
    """Every shape, one after another."""
    found: list[Row] = []
    for shape in size.shapes:
        recorded = kept(films, shape)
        with ExitStack() as stack:
            kinds: tuple[Kind, ...] = ("lerobot", "lance")
            dataset = recorded.folder / recorded.robot.tag
            readers = {kind: stack.enter_context(reading(peers, kind, dataset, _BATCH)) for kind in kinds}
            stack.enter_context(cluster())
            ways = Ways(recorded, readers)
            ways.warm()
            found += results(shape, [ways.turn(number, size.steps) for number in range(size.pairs)], readers)
    return found


def main() -> None:
    """Measure, write, print."""
    parser = films_and_peers(__doc__, "about a minute")
    parser.add_argument("--wide", action="store_true", help="the other groups and cameras, in fewer turns")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else WIDE if arguments.wide else FULL
    size = replace(size, pairs=arguments.turns or size.pairs)
    rows = measured(arguments.films, arguments.peers, size)
    tell("loader_global", arguments.json, quick=arguments.quick, rows=rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
