"""The feed on a real Ray Data: every picture that a sample shows is of its episode, tick and camera, and of no other.

With 1 and 2 workers, in both orders, from a step in the middle, on cores that others use up, and when decoders are
killed with -9. Compared bit for bit with episodes in memory.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray
from numpy.typing import NDArray

from pipelines.decoder import TOGETHER, Decoder, attempts
from pipelines.feed import RaySupply, Source
from tests.integration.numbered import decode, numbered_version
from tests.unit.data.test_frames import Counting
from tests.unit.model.tiny import tiny_model
from volano.cluster import ROOT
from volano.data.footage import Footage
from volano.data.order import OrderKind
from volano.data.version import DatasetVersion, is_table, materialize
from volano.errors import Code, StorageError, TrainError
from volano.storage.open import open_store
from volano.storage.ranges import open_ranges
from volano.train.dataset import demonstrations, fit_codecs, origin, streamed
from volano.train.feed import Demonstration, Feed
from volano.train.shots import Shots
from volano.train.text import TextFeed

pytestmark = pytest.mark.slow
_BATCH, _STEPS = 6, 125


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    path = f"{ROOT / 'platform'}{os.pathsep}{ROOT}"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path, "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}},
    )
    yield
    ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class World:
    """A version, its episodes in memory, and its tables in a folder."""

    url: str
    version: DatasetVersion
    numbers: dict[str, int]
    held: dict[str, list[Demonstration]]
    tables: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("numbered")
    url = str(folder / "store")
    version_id, numbers = numbered_version(folder, url)
    version = materialize(open_store(url), version_id, folder / "whole")
    materialize(open_store(url), version_id, folder / "tables", is_table)
    assert not list((folder / "tables").rglob("*.mp4"))
    held = demonstrations(folder / "whole", version)
    return World(url=url, version=version, numbers=numbers, held=held, tables=folder / "tables")


class Streamed:
    """What one worker of some trains on, its pictures brought by Ray Data; and the same in memory."""

    def __init__(self, world: World, order: OrderKind, rank: int, workers: int, **changed: object) -> None:
        self.world, self.rank, self.workers = world, rank, workers
        footage, shown = Footage.read(world.tables, world.version.embodiments), dict[int, NDArray[np.uint8]]()
        self.shown = shown
        self.episodes = streamed(world.tables, world.version, footage, shown)
        self.keys = footage.keys(world.version)
        source = Source(store_url=world.url, footage=footage, keys=self.keys, decoders=1, world=workers)
        self.supply = RaySupply(replace(source, **changed), shown, partial(origin, self.episodes))  # type: ignore[arg-type]
        robots = world.version.embodiments
        codecs = fit_codecs(world.held, robots, tiny_model())
        self.feeds = [
            Feed(episodes, codecs, shares={}, batch=_BATCH, images=True, seed=7, order=order)
            for episodes in (self.episodes, world.held)
        ]
        asked = {
            name: {tag: [replace(one, succeeded=True) for one in items] for tag, items in episodes.items()}
            for name, episodes in (("streamed", self.episodes), ("held", world.held))
        }
        self.questions = [TextFeed(asked[name], robots, batch=2, seed=7) for name in ("streamed", "held")]

    def shots(self) -> Shots:
        """With more pictures at every tenth step, whose test shows a batch of all workers."""
        frames = self.feeds[0].frames()
        assert frames is not None
        return Shots(
            learned=(frames, self.questions[0].frames()),
            tested=frames,
            rank=self.rank,
            world=self.workers,
            passes=1,
            test_every=10,
            steps=_STEPS,
        )

    def check(self, step: int) -> int:
        """Compare everything that the step shows; how many pictures that were."""
        (ours, held), pictures = ((feed.samples(step, self.rank, self.workers) for feed in self.feeds), 0)
        picks = self.feeds[1].picks(step)[self.rank :: self.workers]
        for pick, sample, other in zip(picks, ours, held, strict=True):
            where = self.feeds[1].origin(*pick).split()
            expected = self.world.numbers[where[2]], int(where[4])
            assert [decode(image) for image in sample.images] == [(*expected, camera) for camera in (0, 1)]
            assert all(np.array_equal(a, b) for a, b in zip(sample.images, other.images, strict=True))
            for name in ("state", "target", "mask"):
                assert getattr(sample, name).tobytes() == getattr(other, name).tobytes()
            assert (sample.embodiment, sample.instruction) == (other.embodiment, other.instruction)
            pictures += len(sample.images)
        asked, other_asked = (text.samples(step, self.rank, self.workers) for text in self.questions)
        for question, other_question in zip(asked, other_asked, strict=True):
            assert question.answer == other_question.answer
            assert all(np.array_equal(a, b) for a, b in zip(question.images, other_question.images, strict=True))
            pictures += len(question.images)
        return pictures


@contextmanager
def starved() -> Iterator[None]:
    """Within it, the cores are busy with something else, which is as nice as Ray's workers are."""
    command = ["nice", "-n", "15", sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(2)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def decoders() -> list[psutil.Process]:
    """The decoders of this process's cluster."""
    return [one for one in psutil.Process().children(recursive=True) if "MapWorker" in one.name()]


def rooms() -> list[str]:
    """The memory that this process shares with its decoders, as paths."""
    open_files = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [path for path in open_files if os.path.exists(path) and "volano-pictures" in os.readlink(path)]


@pytest.mark.parametrize(
    ("order", "workers", "first", "shared"),
    [("uniform", 1, 0, True), ("blocks", 2, 0, True), ("blocks", 1, 77, True), ("blocks", 1, 0, False)],
    ids=str,
)
def test_every_picture_is_the_one_that_was_asked_for(
    world: World, order: OrderKind, workers: int, first: int, shared: bool
) -> None:
    """Also where decoders share no memory with the worker, as on another machine: somebody else has its locks."""
    for rank in range(workers):
        part = Streamed(world, order, rank, workers)
        with ExitStack() as stack:
            bring = stack.enter_context(part.supply.bringing(part.shots(), range(first, _STEPS)))
            place = rooms()[0]
            if not shared:
                fcntl.flock(stack.enter_context(open(place, "rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            shown = 0
            for step in range(first, _STEPS):
                bring(step)
                shown += part.check(step)
        assert shown > 2 * _BATCH // workers * (_STEPS - first)
        assert not part.shown


@pytest.mark.parametrize("order", ["uniform", "blocks"])
def test_two_decoders_of_a_worker_bring_every_step_in_its_order(world: World, order: OrderKind) -> None:
    part = Streamed(world, order, 0, 1, decoders=2)
    with part.supply.bringing(part.shots(), range(300)) as bring:
        for step in range(300):
            bring(step)
            part.check(step)
            if step % 60 == 20:
                time.sleep(0.5)  # decoders fill their rooms meanwhile


@pytest.mark.parametrize(
    ("order", "steps", "kills"), [("uniform", 160, (5, 70)), ("blocks", 235, (40, 200))], ids=["uniform", "blocks"]
)
def test_killed_decoders_on_starved_cores_cost_nothing(
    world: World, order: OrderKind, steps: int, kills: tuple[int, int]
) -> None:
    """Of blocks, 240 steps are one task of Ray's, and more than there are rooms: it is done again from its first."""
    part, killed = Streamed(world, order, 0, 1), set[int]()
    with starved(), part.supply.bringing(part.shots(), range(steps)) as bring:
        for step in range(steps):
            bring(step)
            part.check(step)
            if step in kills:
                for one in decoders():
                    one.send_signal(signal.SIGKILL)
                    killed.add(one.pid)
    assert len(killed) >= 2, "nothing was killed while it had something to do"


def test_a_decoder_goes_on_from_one_span_to_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told comes next costs as much as what was asked for at once, and shows the same."""
    part = Streamed(world, "blocks", 0, 1)
    plan = ray.put((Footage.read(world.tables, world.version.embodiments), part.keys, part.shots()))
    ways = {"at once": [(0, 120, 120)], "told": [(0, 60, 120), (60, 120, 120)], "untold": [(0, 60, 60), (60, 120, 120)]}
    reads, rows = dict[str, int](), dict[str, list[pa.Table]]()
    for name, spans in ways.items():
        counting = Counting(open_ranges(world.url))
        monkeypatch.setattr("pipelines.decoder.open_ranges", lambda _url, counting=counting: counting)
        decoder = Decoder(world.url, [plan], attempts())
        given = [dict(zip(("first", "stop", "after"), np.array(span)[:, None], strict=True)) for span in spans]
        rows[name] = [row for span in given for row in decoder(span)]
        reads[name] = sum(counting.seen.values())
    assert reads["told"] == reads["at once"] < reads["untold"]
    shown = {name: pa.concat_tables(some)["pictures"].to_pylist() for name, some in rows.items()}
    assert b"".join(shown["told"]) == b"".join(shown["at once"]) == b"".join(shown["untold"])


def test_a_span_that_was_begun_four_times_is_not_begun_again(world: World) -> None:
    part = Streamed(world, "uniform", 0, 1)
    plan = ray.put((Footage.read(world.tables, world.version.embodiments), part.keys, part.shots()))
    decoder = Decoder(world.url, [plan], attempts())
    for first, begun in ((0, 4), (32, 4)):
        span = {"first": np.array([first]), "stop": np.array([first + 32]), "after": np.array([first + 32])}
        for _ in range(begun):
            assert next(iter(decoder(span)))["step"][0].as_py() == first
        row, *others = decoder(span)
        assert len(others) == 32 // TOGETHER - 1, "Ray has some of the rows, and hears of it in the next one"
        assert all(other.equals(row) for other in others)
        assert row["code"][0].as_py() == Code.TRAIN_FEED
        assert f"{first} to {first + 32} died 4 times" in row["cause"][0].as_py()


def test_what_cannot_be_read_ends_with_the_name_of_its_episode(world: World) -> None:
    part = Streamed(world, "uniform", 0, 1)
    frame = int(part.shots().at(0)[0])
    name = origin(part.episodes, frame).rpartition(" tick ")[0]
    footage = Footage.read(world.tables, world.version.embodiments)
    other = np.array(footage.sha256)
    other[int(footage.groups_of(np.array([frame]))[0])] ^= 1
    part = Streamed(world, "uniform", 0, 1, footage=replace(footage, sha256=other))
    with (
        pytest.raises(StorageError, match=name) as refused,
        part.supply.bringing(part.shots(), range(_STEPS)) as bring,
    ):
        bring(0)
    assert refused.value.code is Code.STORE_CORRUPT
    group = footage.group(int(footage.groups_of(np.array([frame]))[0]))
    torn = np.array(footage.sizes)
    torn[group.first : group.first + 2] = group.sizes[0] - 9, group.sizes[1] + 9
    part = Streamed(world, "uniform", 0, 1, footage=replace(footage, sizes=torn))
    with pytest.raises(TrainError, match=name) as broken, part.supply.bringing(part.shots(), range(_STEPS)) as bring:
        bring(0)
    assert broken.value.code is Code.TRAIN_PICTURES
