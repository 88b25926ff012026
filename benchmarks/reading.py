"""Ways to read the films of `benchmarks.recorded`, and what they cost in processor time: ours, and the bare floors."""

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import ray
from numpy.typing import NDArray

from benchmarks.reader_peers import PEERS
from benchmarks.recorded import HORIZON, Picture, Recorded, checked, require
from benchmarks.report import Row, arguments_of, compared, without
from pipelines.feed import RaySupply, Source
from volano.cluster import ROOT
from volano.data.lerobot_read import places
from volano.data.order import OrderKind
from volano.data.video import ColourConverter
from volano.train.dataset import origin
from volano.train.feed import Feed
from volano.train.shots import Shots

PACKAGES = ("av", "ray")
"""Whose versions a benchmark of the feed names."""
_LOOK_S = 0.25
_BESIDES: set[int] = set()


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """A Ray of this process's own, of two cores."""
    path = f"{ROOT / 'platform'}{os.pathsep}{ROOT}"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2 << 30,
        runtime_env={"env_vars": {"PYTHONPATH": path, "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}},
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def besides(*processes: int) -> Iterator[None]:
    """What these processes below this one do is nobody's time meanwhile: a store has machines of its own."""
    _BESIDES.update(processes)
    try:
        yield
    finally:
        _BESIDES.difference_update(processes)


class Spent(threading.Thread):
    """CPU-seconds, from now on, of this process and of all below it, those that end meanwhile included."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._before, self._ended = _by_process(), threading.Event()
        self._seen = dict(self._before)
        self._looking = 0.0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._seen |= _by_process()
        self._looking = time.thread_time()

    def seconds(self) -> float:
        """Until now, looking not included; of what ended between two looks, until the first of them."""
        self._ended.set()
        self.join()
        self._seen |= _by_process()
        return sum(now - self._before.get(process, 0.0) for process, now in self._seen.items()) - self._looking


def _by_process() -> dict[psutil.Process, float]:
    found = {}
    below = [one for one in psutil.Process().children(recursive=True) if one.pid not in _BESIDES]
    for process in [psutil.Process(), *below]:
        with contextlib.suppress(psutil.Error):
            found[process] = sum(process.cpu_times()[:2])
    return found


class Stream:
    """Our feed through Ray Data, one worker of one decoder."""

    def __init__(self, recorded: Recorded, url: str, order: OrderKind, batch: int) -> None:
        self.shown: dict[int, Picture] = {}
        episodes = recorded.episodes(self.shown)
        source = Source(store_url=url, footage=recorded.footage(), keys=recorded.keys(), decoders=1, world=1)
        self.supply = RaySupply(source, self.shown, partial(origin, episodes))
        self.feed = Feed(episodes, recorded.codecs(), shares={}, batch=batch, images=True, seed=0, order=order)

    def read(self, steps: range, between: Callable[[int], None] = lambda _step: None) -> float:
        """CPU-seconds of these steps, starting decoders included."""
        spent = Spent()
        with self.supply.bringing(self.shots(steps), steps) as bring:
            for step in steps:
                bring(step)
                checked(self.feed, step)
                between(step)
            return spent.seconds()

    def shots(self, steps: range) -> Shots:
        """Of its one worker."""
        frames = self.feed.frames()
        assert frames is not None
        return Shots(learned=(frames,), tested=None, rank=0, world=1, passes=1, test_every=1, steps=steps.stop)


class Floor:
    """Bare decoding of the same files from a local copy, and the chunk of actions as one slice of an array."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded, self._tag = recorded, recorded.robot.tag
        self._episodes = recorded.episodes({})[self._tag]
        self._places = places(recorded.folder / self._tag)
        self._open: dict[str, tuple[Any, Any]] = {}
        self._rgb = ColourConverter("rgb24")

    def read_random(self, rows: Sequence[tuple[int, int]]) -> None:
        """Episodes and ticks, sorted: by seeking to the group of each and decoding up to it."""
        for camera in self._recorded.robot.cameras:
            wanted: dict[str, list[tuple[int, int, int]]] = {}
            for episode, tick in sorted(rows):
                path, before = self._places[episode][camera.name]
                wanted.setdefault(path, []).append((before + tick, episode, tick))
            for path, found in wanted.items():
                self._read_from(path, sorted(found))
        for episode, tick in rows:
            self._chunk(episode, tick)

    def read_in_order(self) -> int:
        """Every sample, every file from its beginning to its end; how many."""
        for camera in self._recorded.robot.cameras:
            for episode, place in enumerate(self._places):
                path, before = place[camera.name]
                ticks = range(len(self._episodes[episode].action))
                self._read_from(path, [(before + tick, episode, tick) for tick in ticks])
        for episode, one in enumerate(self._episodes):
            for tick in range(len(one.action)):
                self._chunk(episode, tick)
        return sum(len(one.action) for one in self._episodes)

    def _read_from(self, path: str, wanted: Sequence[tuple[int, int, int]]) -> None:
        container, stream = self._container(path)
        rate, position = self._recorded.robot.rate_hz, -1
        frames: Iterator[Any] = iter(())
        for number, episode, tick in wanted:
            if position < 0 or number - tick % self._recorded.shape.group > position:  # its group is still to come
                container.seek(round(number / rate / stream.time_base), stream=stream, backward=True)
                frames = container.decode(stream)
            while position != number:
                frame = next(frames)
                position = round(frame.pts * frame.time_base * rate)
            where = self._episodes[episode].state[tick]
            require((self._rgb.array(frame),), int(where[0]), int(where[1]))

    def _container(self, path: str) -> tuple[Any, Any]:
        if path not in self._open:
            container = av.open(str(self._recorded.folder / self._tag / path), mode="r", format="mp4")
            container.streams.video[0].codec_context.thread_count = 1
            self._open[path] = container, container.streams.video[0]
        return self._open[path]

    def _chunk(self, episode: int, tick: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        action = self._episodes[episode].action
        chunk, mask = np.zeros((HORIZON, action.shape[1]), np.float32), np.zeros(HORIZON, np.bool_)
        rows = action[tick : tick + HORIZON]
        chunk[: len(rows)], mask[: len(rows)] = rows, True
        return chunk, mask


def rated(
    metric: str, ours: Sequence[float], reference: Sequence[float], name: str, must: float | None, aim: float | None
) -> Row:
    """Rates of each turn, ours over the reference."""
    if min([*ours, *reference]) <= 0:
        return without(metric, "the run is too short beside what starting Ray costs")
    unit = "samples per CPU-second"
    return compared(metric, ours, reference, name, unit=unit, better="higher", must=must, aim=aim)


def films_and_peers(doc: str | None, rough: str) -> argparse.ArgumentParser:
    """The command line of a benchmark that reads films, beside readers of others."""
    parser = arguments_of(doc, rough)
    parser.add_argument("--turns", type=int, help="of each way, in place of what the mode says")
    parser.add_argument("--films", type=Path, default=Path(".volano/films"), help="where the films are or go")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the environment of the other readers")
    return parser
