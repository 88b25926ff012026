"""The training feed on Ray Data: decoders beside or away from the trainers, which bring the pictures of each step.

One execution for each worker and stage, whose rows are spans of steps. What a span shows is a function of its steps,
which worker and decoder both work out: so a decoder that dies is replaced and its span done again, without a picture
lost or brought twice, and a run goes on at any step. Order is preserved and checked; what waits to be shown is bounded.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
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
from volano.data.version import load, object_key
from volano.errors import Code, StorageError, TrainError, VolanoError
from volano.storage.open import open_store
from volano.storage.ranges import open_ranges
from volano.train.shots import Shots

_PREFETCH = 2
"""Blocks in a worker's own memory before they are shown."""
_BLOCK_BYTES = 8 << 20
"""Of the steps that leave a decoder together: each block costs Ray some milliseconds. A larger step leaves alone."""
_ATTEMPTS = 3
"""Times that a span is begun again when its decoder has died."""
_RESTARTS = 100
"""Of one decoder."""
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


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the pictures of a version are, and how they are brought to one of `world` workers."""

    store_url: str
    version: str
    footage: Footage
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
        plan = ray.put((self._source.footage, shots))
        rows = self._rows(plan, spans(steps, shots.span))
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
            raise self._unreadable(Code(code), row)
        if row["step"][0].as_py() != step:
            raise _broken(f"it brought step {row['step'][0]} for step {step}")
        pictures = np.frombuffer(row["pictures"][0].as_buffer(), np.uint8)
        shapes = self._source.footage.shapes_of(frames)
        ends = np.cumsum(3 * shapes.prod(axis=1, dtype=np.int64)).tolist()
        self._shown.clear()
        for frame, (begin, end), (height, width) in zip(
            frames.tolist(), pairwise([0, *ends]), shapes.tolist(), strict=True
        ):
            self._shown[frame] = pictures[begin:end].reshape(height, width, 3)

    def _unreadable(self, code: Code, row: pa.Table) -> VolanoError:
        cause, fix = row["cause"][0].as_py(), row["fix"][0].as_py()
        cause = f"{self._origin(row['frame'][0].as_py())}: {cause}"
        if code.startswith("E-STORE-"):
            return StorageError(code, cause, fix)
        return TrainError(Code.TRAIN_PICTURES, cause, fix)

    def _rows(self, plan: Any, found: Sequence[range]) -> Generator[pa.Table]:
        """A row at a time, in order."""
        source, cluster = self._source, ray.cluster_resources()
        context = ray.data.DataContext.get_current().copy()
        context.print_on_execution_start = context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK_BYTES
        context.execution_options.preserve_order = True
        context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
            object_store_memory=cluster.get("object_store_memory", 0.0) / 2 / source.world
        )
        with ray.data.DataContext.current(context):
            spans_of_steps = ray.data.from_items(
                [{"first": span.start, "stop": span.stop} for span in found], override_num_blocks=len(found)
            )
            decoded = spans_of_steps.map_batches(
                Decoder,
                fn_constructor_args=(source.store_url, source.version, [plan]),
                batch_size=None,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=source.decoders),
                num_cpus=decoder_cpus(cluster.get("CPU", 0.0), source.world, source.decoders),
                max_restarts=_RESTARTS,  # by Ray Data's own numbers, a span that kills its decoder would for ever
                max_task_retries=_ATTEMPTS,
            )
        batches = decoded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=_PREFETCH)
        with closing(cast(Generator[pa.Table], iter(batches))) as blocks:
            for block in blocks:
                for number in range(len(block)):
                    yield block.slice(number, 1)


class Decoder:
    """One actor of the pool: opens the store for itself, brings spans of steps."""

    def __init__(self, store_url: str, version: str, plan: Sequence[Any]) -> None:
        """`plan` holds Ray's promise of (footage, shots)."""
        footage, self._shots = cast(tuple[Footage, Shots], ray.get(plan[0]))
        self._reader = FrameReader(
            footage, open_ranges(store_url), partial(object_key, load(open_store(store_url), version))
        )

    def __call__(self, span: Mapping[str, NDArray[np.int64]]) -> Iterator[pa.Table]:
        """A row for each step. Ray Data makes text of an exception, so what cannot be read is a row as well, the last
        one."""
        steps = range(int(span["first"][0]), int(span["stop"][0]))
        try:
            for step, images in zip(steps, self._reader.read([self._shots.at(step) for step in steps]), strict=True):
                yield _row(step=step, pictures=images)
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


def _row(
    *,
    step: int = -1,
    pictures: Sequence[NDArray[np.uint8]] = (),
    frame: int = -1,
    code: str = "",
    cause: str = "",
    fix: str = "",
) -> pa.Table:
    flat = np.concatenate([np.empty(0, np.uint8), *(image.reshape(-1) for image in pictures)])
    ends = np.array([0, len(flat)], np.int64)
    binary = pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(flat)])
    return pa.table([[step], binary, [frame], [code], [cause], [fix]], schema=_SCHEMA)


def _broken(cause: str) -> TrainError:
    return TrainError(
        Code.TRAIN_FEED,
        f"the stream of pictures broke: {cause}",
        "see Ray's logs; the same command goes on from the newest complete checkpoint",
    )
