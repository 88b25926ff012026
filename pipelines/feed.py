"""The training feed on Ray Data: decoders beside or away from the trainers, which bring the pictures of each step.

One execution for each worker and stage, whose rows are spans of steps. What a span shows is a function of its steps,
which worker and decoder both work out: so a decoder that dies is replaced and its span done again, without a picture
lost or brought twice, and a run goes on at any step. Order is preserved and checked; what waits to be shown is bounded.
"""

import logging
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.exceptions import RayError

from pipelines.decoder import TOGETHER, Decoder, attempts, spans
from pipelines.rooms import Rooms
from volano.data.footage import Footage
from volano.errors import Code, StorageError, TrainError, VolanoError
from volano.train.shots import Shots

_LOG = logging.getLogger(__name__)
_PREFETCH = 2
"""Blocks in a worker's own memory before they are shown."""
_BLOCK_BYTES = 1
"""A decoder's row is a block: how many steps leave it together it decides itself."""
_STORE_SHARE = 0.25
"""Of the object store, for what all workers' decoders are ahead: where it is more than full, Ray writes to disks."""
_WINDOWS = 4
"""Windows that a decoder is given at once when it is the only one; several get them one by one, since what the others
bring waits until the first is shown."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the pictures of a version are, and how they are brought to one of `world` workers."""

    store_url: str
    footage: Footage
    keys: Mapping[str, str]
    """Path of a file of the footage to the key of its object."""
    decoders: int
    """Of each worker."""
    world: int


@dataclass(frozen=True, kw_only=True)
class Brought:
    """One step as it came."""

    step: int
    place: int
    """Of its pictures, as the row says it."""
    row: pa.Table


class RaySupply:
    """The supply of one worker."""

    def __init__(
        self, source: Source, shown: MutableMapping[int, NDArray[np.uint8]], origin: Callable[[int], str]
    ) -> None:
        """`shown` is filled for each step; `origin` names a frame in words."""
        self._source, self._shown, self._origin = source, shown, origin

    @contextmanager
    def bringing(self, shots: Shots, steps: range) -> Iterator[Callable[[int], None]]:
        """As `volano.train.film.Supply` says; a store that fails raises its StorageError."""
        if shots.is_blind or not steps:
            yield lambda _step: None
            return
        plan = ray.put((self._source.footage, dict(self._source.keys), shots))
        rooms = self._rooms(shots, steps)
        brought = self._brought(plan, tasks(steps, shots.span, self._source.decoders), rooms)
        try:
            yield lambda step: self._bring(brought, shots.at(step), step, rooms)
        finally:
            self._shown.clear()
            for one in rooms:
                one.leave()
            brought.close()

    def _rooms(self, shots: Shots, steps: range) -> list[Rooms]:
        """For each decoder: a window, which it may be at all at once, and as much again that it may be ahead, within
        the store's share. They have room for a quarter more than the first steps show; a larger one goes through Ray.
        None where the system gives none."""
        size = max(int(self._source.footage.begins_of(shots.at(step))[-1]) for step in steps[:TOGETHER])
        share = _store_bytes(self._source.world) / self._source.decoders
        size += size // 4
        ahead = min(max(shots.span, (_PREFETCH + 1) * TOGETHER), int(share / max(1, size)))
        if not size or sys.platform != "linux":
            return []
        try:
            return [Rooms(shots.span + ahead, size) for _ in range(self._source.decoders)]
        except OSError as error:
            _LOG.warning("pictures go through Ray's store, since no memory can be shared: %s", error)
            return []

    def _bring(self, brought: Iterator[Brought], frames: NDArray[np.int64], step: int, rooms: Sequence[Rooms]) -> None:
        self._shown.clear()
        for one in rooms:
            one.begin(step)
        try:
            found = next(brought)
        except StopIteration:
            raise _broken(f"it ended before step {step}") from None
        except RayError as error:
            raise _broken(str(error)) from error
        if code := found.row["code"][0].as_py():
            raise self._failed(Code(code), found.row)
        if found.step != step:
            raise _broken(f"it brought step {found.step} for step {step}")
        footage = self._source.footage
        pictures = _pictures(found, int(footage.begins_of(frames)[-1]), rooms)
        for one in rooms:
            one.end(step)
        self._shown.update(zip(frames.tolist(), footage.images(frames, pictures), strict=True))

    def _failed(self, code: Code, row: pa.Table) -> VolanoError:
        cause, fix = row["cause"][0].as_py(), row["fix"][0].as_py()
        if code is Code.TRAIN_FEED:
            return _broken(cause)
        cause = f"{self._origin(row['frame'][0].as_py())}: {cause}"
        if code.startswith("E-STORE-"):
            return StorageError(code, cause, fix)
        return TrainError(Code.TRAIN_PICTURES, cause, fix)

    def _brought(self, plan: Any, found: list[dict[str, int]], rooms: Sequence[Rooms]) -> Generator[Brought]:
        """A step at a time, in order. A decoder has one span at a time: of two it might do the later one first, and
        fill the rooms with it."""
        source, cluster = self._source, ray.cluster_resources()
        context = ray.data.DataContext.get_current().copy()
        context.print_on_execution_start = context.enable_progress_bars = False
        context.target_max_block_size, context.memory_usage_poll_interval_s = _BLOCK_BYTES, None
        context.execution_no_progress_timeout_s = -1  # a worker may stand still for as long as it likes
        context.execution_options.preserve_order = True
        context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
            object_store_memory=_store_bytes(source.world)
        )
        with ray.data.DataContext.current(context):
            spans_of_steps = ray.data.from_items(found, override_num_blocks=len(found))
            decoded = spans_of_steps.map_batches(
                Decoder,
                fn_constructor_args=(source.store_url, [plan], attempts(), [one.place for one in rooms]),
                batch_size=None,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=source.decoders, max_tasks_in_flight_per_actor=1),
                num_cpus=decoder_cpus(cluster.get("CPU", 0.0), source.world, source.decoders),
            )
        batches = decoded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=_PREFETCH)
        with closing(cast(Generator[pa.Table], iter(batches))) as blocks:
            for block in blocks:
                for number in range(len(block)):
                    yield from _steps_of(block.slice(number, 1))


def tasks(steps: range, window: int, decoders: int) -> list[dict[str, int]]:
    """Spans of steps, each a task of one of the decoders: from `first` to `stop`. Up to `after` goes what the same
    decoder is to do then: only one who is alone knows that."""
    alone = decoders == 1
    return [
        {
            "first": span.start,
            "stop": span.stop,
            "after": min(span.stop + window, steps.stop) if alone else span.stop,
        }
        for span in spans(steps, (_WINDOWS if alone else 1) * window)
    ]


def decoder_cpus(cores: float, workers: int, decoders: int) -> float:
    """What each decoder asks of the cluster: a core where there are enough beside the workers', else its share of what
    they leave, down to none: then it works on the workers' own cores."""
    share = (cores - workers) / (workers * decoders)
    return min(1.0, max(0.0, int(100 * share) / 100))


def _store_bytes(world: int) -> float:
    """What one worker's decoders may be ahead."""
    return float(ray.cluster_resources().get("object_store_memory", 0.0)) * _STORE_SHARE / world


def _steps_of(row: pa.Table) -> Iterator[Brought]:
    places = np.frombuffer(row["places"][0].as_py(), np.int64).tolist()
    for step, place in enumerate(places or [-1], row["step"][0].as_py()):
        yield Brought(step=step, place=place, row=row)


def _pictures(found: Brought, size: int, rooms: Sequence[Rooms]) -> NDArray[np.uint8]:
    """The pictures of a step, one behind the other."""
    if found.place < 0:
        first = -1 - found.place
        pictures = np.frombuffer(found.row["pictures"][0].as_buffer(), np.uint8)[first : first + size]
        if len(pictures) != size:
            raise _broken(f"it brought {len(pictures)} of {size} bytes of step {found.step}")
        return pictures
    part, number = divmod(found.place, rooms[0].place.rooms)
    shared = rooms[part].pictures(number, found.step, size)
    if shared is None:
        raise _broken(f"room {number} does not hold step {found.step}")
    return shared


def _broken(cause: str) -> TrainError:
    return TrainError(
        Code.TRAIN_FEED,
        f"the stream of pictures broke: {cause}",
        "see Ray's logs; the same command goes on from the newest complete checkpoint",
    )
