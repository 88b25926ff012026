"""What brings the pictures of a training's steps: an actor of Ray Data that works out what its steps show, reads and
decodes it, and hands it over in rooms that it shares with the worker, or as bytes.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipelines.rooms import Place, Writer, open_rooms
from volano.data.footage import Footage
from volano.data.frames import FrameReader, UnreadableError
from volano.errors import Code
from volano.storage.ranges import open_ranges
from volano.train.shots import Shots

TOGETHER = 8
"""Steps that are handed over together at most: each block costs Ray some milliseconds."""
_TOGETHER_BYTES = 64 << 20
"""Of their pictures; a larger step goes alone."""
_ATTEMPTS = 4
"""Times that a span is begun before it is held to be what kills its decoders."""
_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("places", pa.binary()),
        ("pictures", pa.large_binary()),
        ("frame", pa.int64()),
        ("code", pa.string()),
        ("cause", pa.string()),
        ("fix", pa.string()),
    ]
)
"""A row is the steps from one on, with an int64 for each in `places`: the number of its room, or -1 less where its
pictures begin in the row's; or what went wrong with a frame: its `code` is not empty."""


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As malloc.h numbers them."""
_NOTHING = np.empty(0, np.uint8)


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

    def __init__(self, store_url: str, plan: Sequence[Any], attempts: Any, places: Sequence[Place] = ()) -> None:
        """`plan` holds Ray's promise of (footage, keys, shots), `places` say where the worker's rooms are."""
        self._footage, keys, self._shots = cast(tuple[Footage, dict[str, str], Shots], ray.get(plan[0]))
        self._attempts, self._places = attempts, tuple(places)
        self._writer: Writer | None = None
        self._span: int | None = None
        """First step of the span that is being done, for the first time."""
        _keep_memory()
        self._reader = FrameReader(self._footage, open_ranges(store_url), keys.__getitem__, self._room)

    def __call__(self, span: Mapping[str, NDArray[np.int64]]) -> Iterator[pa.Table]:
        """A row for some steps at a time, which ones does not depend on what is in a room: Ray Data tells the rows of a
        span that is done again from those that it has by their number. It makes text of an exception, so what cannot
        be read is a row as well, and stands for all that follow."""
        steps = range(int(span["first"][0]), int(span["stop"][0]))
        parts = spans(steps, self._shots.span)
        groups = [group for part in parts for group in together(part, self._size)]
        attempt = ray.get(self._attempts.begin.remote(steps.start))
        if attempt > _ATTEMPTS:
            cause = f"what brings the pictures of steps {steps.start} to {steps.stop} died {_ATTEMPTS} times"
            yield from [row_of(code=str(Code.TRAIN_FEED), cause=cause)] * len(groups)  # Ray has the first ones
            return
        self._writer = self._writer or open_rooms(self._places)
        self._span = steps.start if attempt == 1 else None
        if self._writer is not None:
            self._writer.begin()
        after = range(steps.stop, int(span["after"][0]))
        pictures = self._reader.read([self._frames(part) for part in parts], self._frames(after))
        for number, group in enumerate(groups):
            ready: list[NDArray[np.uint8]] = []
            failed = None
            try:
                ready.extend(next(pictures) for _ in group)  # what came before an error stays
            except UnreadableError as error:
                failed = error
            if ready:
                yield self._handed_over(group.start, ready)
            if failed is not None:
                said = failed.error
                row = row_of(frame=failed.frame, code=str(said.code), cause=said.cause, fix=said.fix)
                yield from [row] * (len(groups) - number)
                return
        next(pictures, None)  # so that what it keeps for the next span stays

    def _handed_over(self, first: int, ready: Sequence[NDArray[np.uint8]]) -> pa.Table:
        places, rest, size = [], [], 0
        for step, pictures in enumerate(ready, first):
            if self._writer is not None and self._writer.owns(pictures):
                places.append(self._writer.hand_over(pictures, step))
            else:
                places.append(-1 - size)
                rest.append(pictures)
                size += len(pictures)
        joined = rest[0] if len(rest) == 1 else np.concatenate([_NOTHING, *rest])
        return row_of(step=first, places=np.array(places, np.int64).tobytes(), pictures=joined)

    def _frames(self, steps: range) -> list[NDArray[np.int64]]:
        return [self._shots.at(step) for step in steps]

    def _size(self, step: int) -> int:
        return int(self._footage.begins_of(self._shots.at(step))[-1])

    def _room(self, size: int) -> NDArray[np.uint8]:
        room = None if self._writer is None else self._writer.take(size, span=self._span)
        return np.empty(size, np.uint8) if room is None else room


def spans(steps: range, span: int) -> list[range]:
    """Steps that are decoded together: cut at each multiple of `span`."""
    first = steps.start // span * span
    cuts = [max(cut, steps.start) for cut in range(first, steps.stop, span)] + [steps.stop]
    return [range(begin, end) for begin, end in pairwise(cuts)]


def together(part: range, size: Callable[[int], int]) -> list[range]:
    """A window cut into steps that are handed over together; `size` is the bytes of a step's pictures."""
    cuts, held = [part.start], 0
    for step in part:
        held += size(step)
        if step > cuts[-1] and (step - cuts[-1] == TOGETHER or held > _TOGETHER_BYTES):
            cuts.append(step)
            held = size(step)
    return [range(begin, end) for begin, end in pairwise([*cuts, part.stop])]


def _keep_memory() -> None:
    """Memory that was freed stays this process's: to get it anew from the kernel, zeroed, for each step is a tenth of
    what a step costs."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)


def row_of(
    *,
    step: int = -1,
    places: bytes = b"",
    pictures: NDArray[np.uint8] = _NOTHING,
    frame: int = -1,
    code: str = "",
    cause: str = "",
    fix: str = "",
) -> pa.Table:
    """A table of one row."""
    ends = np.array([0, len(pictures)], np.int64)
    binary = pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(pictures)])
    return pa.table([[step], [places], binary, [frame], [code], [cause], [fix]], schema=_SCHEMA)
