"""The training feed on Ray Data: decoders beside or away from the trainers, which bring the pictures of each step.

One execution for each worker and stage, whose rows are spans of steps. What a span shows is a function of its steps,
which worker and decoder both work out: so a decoder that dies is replaced and its span done again, without a picture
lost or brought twice, and a run goes on at any step. Order is preserved and checked; what waits to be shown is bounded.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.exceptions import RayError

from volano.data.footage import Footage
from volano.data.frames import FrameReader, UnreadableError
from volano.errors import Code, StorageError, TrainError, VolanoError
from volano.storage.ranges import open_ranges
from volano.train.shots import Shots

_PREFETCH = 2
"""Blocks in a worker's own memory before they are shown."""
_BLOCK_BYTES = 64 << 20
"""Of the steps that leave a decoder together: each block costs Ray some milliseconds. A larger step leaves alone."""
_STORE_SHARE = 0.25
"""Of the object store, for what all workers' decoders are ahead: where it is more than full, Ray writes to disks."""
_WINDOWS = 4
"""Windows that a decoder is given at once when it is the only one: what two of them share is decoded once. Several
decoders get them one by one, since what the others bring waits until the first is shown."""
_ATTEMPTS = 4
"""Times that a span is begun before it is held to be what kills its decoders."""
_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("pictures", pa.large_binary()),
        ("frame", pa.int64()),
        ("code", pa.string()),
        ("cause", pa.string()),
        ("fix", pa.string()),
    ]
)
"""A row is a step with its pictures one behind the other, or what went wrong with a frame: its `code` is not empty."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As malloc.h numbers them."""
_NOTHING = np.empty(0, np.uint8)


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
        windows = _WINDOWS if self._source.decoders == 1 else 1
        rows = self._rows(plan, spans(steps, windows * shots.span))
        try:
            yield lambda step: self._bring(rows, shots.at(step), step)
        finally:
            self._shown.clear()
            rows.close()

    def _bring(self, rows: Iterator[pa.Table], frames: NDArray[np.int64], step: int) -> None:
        try:
            row = next(rows)
        except StopIteration:
            raise _broken(f"it ended before step {step}") from None
        except RayError as error:
            raise _broken(str(error)) from error
        if code := row["code"][0].as_py():
            raise self._failed(Code(code), row)
        if row["step"][0].as_py() != step:
            raise _broken(f"it brought step {row['step'][0]} for step {step}")
        pictures = np.frombuffer(row["pictures"][0].as_buffer(), np.uint8)
        self._shown.clear()
        self._shown.update(zip(frames.tolist(), self._source.footage.images(frames, pictures), strict=True))

    def _failed(self, code: Code, row: pa.Table) -> VolanoError:
        cause, fix = row["cause"][0].as_py(), row["fix"][0].as_py()
        if code is Code.TRAIN_FEED:
            return _broken(cause)
        cause = f"{self._origin(row['frame'][0].as_py())}: {cause}"
        if code.startswith("E-STORE-"):
            return StorageError(code, cause, fix)
        return TrainError(Code.TRAIN_PICTURES, cause, fix)

    def _rows(self, plan: Any, found: Sequence[range]) -> Generator[pa.Table]:
        """A row at a time, in order."""
        source, cluster = self._source, ray.cluster_resources()
        context = ray.data.DataContext.get_current().copy()
        context.print_on_execution_start = context.enable_progress_bars = False
        context.target_max_block_size, context.memory_usage_poll_interval_s = _BLOCK_BYTES, None
        context.execution_options.preserve_order = True
        context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
            object_store_memory=cluster.get("object_store_memory", 0.0) * _STORE_SHARE / source.world
        )
        with ray.data.DataContext.current(context):
            spans_of_steps = ray.data.from_items(
                [{"first": span.start, "stop": span.stop} for span in found], override_num_blocks=len(found)
            )
            decoded = spans_of_steps.map_batches(
                Decoder,
                fn_constructor_args=(source.store_url, [plan], attempts()),
                batch_size=None,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=source.decoders),
                num_cpus=decoder_cpus(cluster.get("CPU", 0.0), source.world, source.decoders),
            )
        batches = decoded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=_PREFETCH)
        with closing(cast(Generator[pa.Table], iter(batches))) as blocks:
            for block in blocks:
                for number in range(len(block)):
                    yield block.slice(number, 1)


class Attempts:
    """Counts how often each span is begun. Ray Data begins one again whenever its decoder has died, without end."""

    def __init__(self) -> None:
        self._begun = Counter[int]()

    def begin(self, first: int) -> int:
        """How often the span from that step on is begun, this time included."""
        self._begun[first] += 1
        return self._begun[first]


def attempts() -> Any:
    """A new count of them, in an actor of its own."""
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()


class Decoder:
    """One actor of the pool: opens the store for itself, brings spans of steps."""

    def __init__(self, store_url: str, plan: Sequence[Any], attempts: Any) -> None:
        """`plan` holds Ray's promise of (footage, keys, shots)."""
        footage, keys, self._shots = cast(tuple[Footage, dict[str, str], Shots], ray.get(plan[0]))
        self._attempts = attempts
        _keep_memory()
        self._reader = FrameReader(footage, open_ranges(store_url), keys.__getitem__)

    def __call__(self, span: Mapping[str, NDArray[np.int64]]) -> Iterator[pa.Table]:
        """A row for each step. Ray Data makes text of an exception, so what cannot be read is a row as well, the last
        one."""
        steps = range(int(span["first"][0]), int(span["stop"][0]))
        if ray.get(self._attempts.begin.remote(steps.start)) > _ATTEMPTS:
            cause = f"what brings the pictures of steps {steps.start} to {steps.stop} died {_ATTEMPTS} times"
            yield _row(code=str(Code.TRAIN_FEED), cause=cause)
            return
        windows = [[self._shots.at(step) for step in part] for part in spans(steps, self._shots.span)]
        try:
            for step, pictures in zip(steps, self._reader.read(windows), strict=True):
                yield _row(step=step, pictures=pictures)
        except UnreadableError as failed:
            said = failed.error
            yield _row(frame=failed.frame, code=str(said.code), cause=said.cause, fix=said.fix)


def spans(steps: range, span: int) -> list[range]:
    """Steps that are decoded together: cut at each multiple of `span`."""
    first = steps.start // span * span
    cuts = [max(cut, steps.start) for cut in range(first, steps.stop, span)] + [steps.stop]
    return [range(begin, end) for begin, end in pairwise(cuts)]


def decoder_cpus(cores: float, workers: int, decoders: int) -> float:
    """What each decoder asks of the cluster: a core where there are enough beside the workers', else its share of what
    they leave, down to none: then it works on the workers' own cores."""
    share = (cores - workers) / (workers * decoders)
    return min(1.0, max(0.0, int(100 * share) / 100))


def _keep_memory() -> None:
    """Memory that was freed stays this process's: to get it anew from the kernel, zeroed, for each step is a tenth of
    what a step costs."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)


def _row(
    *,
    step: int = -1,
    pictures: NDArray[np.uint8] = _NOTHING,
    frame: int = -1,
    code: str = "",
    cause: str = "",
    fix: str = "",
) -> pa.Table:
    ends = np.array([0, len(pictures)], np.int64)
    binary = pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(pictures)])
    return pa.table([[step], binary, [frame], [code], [cause], [fix]], schema=_SCHEMA)


def _broken(cause: str) -> TrainError:
    return TrainError(
        Code.TRAIN_FEED,
        f"the stream of pictures broke: {cause}",
        "see Ray's logs; the same command goes on from the newest complete checkpoint",
    )
