"""Decodes frames of a version by their numbers, straight from the store: each group once for all that is wanted of it.

No file is copied. Bytes are believed by the hash of their group, and a frame by its place in it: what does not decode
to exactly its frames ends with an error. A frame is written where its step shows it while it is still in the
processor's cache. Memory is that of the frames of one window, whatever the size of the version.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from volano.data.footage import Footage, Group
from volano.data.frame_window import FrameWindow, Room, Window
from volano.data.group_fetching import Fetched, GroupFetching
from volano.data.video import ColourConverter, ImageArray
from volano.errors import Code, DataError, StorageError, VolanoError
from volano.storage.ranges import Ranges

_READERS = 32
"""Batches under way at once: what a store's latency asks for, not the processor."""
_BATCH_GROUPS, _BATCH_BYTES = 8, 4 << 20
"""What is read at once of one file; a larger group is read alone."""
_DECODERS = 8
"""Files whose decoder is kept."""


def _anew(size: int) -> NDArray[np.uint8]:
    return np.empty(size, np.uint8)


class UnreadableError(Exception):
    """A frame that cannot be had, and why; whoever knows the episodes says which it is of."""

    def __init__(self, frame: int, error: VolanoError) -> None:
        super().__init__(frame, error)
        self.frame, self.error = frame, error


class FrameReader:
    """Frames of one version."""

    def __init__(
        self,
        footage: Footage,
        ranges: Ranges,
        key_of: Callable[[str], str],
        room: Room = _anew,
    ) -> None:
        """`key_of` says where in the store a file of the version is, `room` gives memory for the pictures of a step."""
        self._footage, self._ranges, self._key_of, self._room = footage, ranges, key_of, room
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="range")
        self._decoders: OrderedDict[bytes, av.VideoCodecContext] = OrderedDict()
        self._rgb = ColourConverter("rgb24")
        self._begun: tuple[FrameWindow, GroupFetching] | None = None
        """What the next call is to begin with, as far as that was said."""

    def read(self, windows: Sequence[Window], after: Window = ()) -> Iterator[NDArray[np.uint8]]:
        """The pictures of each step of each window, as `Footage.images` cuts them. A group that several steps of a
        window and of the next one need is decoded once, when the first does. `after` is the window that the next call
        begins with, where that is known: what it needs is read ahead, and what it shares is kept, once this call was
        asked for one more step than there are. Raises UnreadableError."""
        window, fetched, rest = self._taken_up(windows)
        with ExitStack() as unless_done:
            unless_done.callback(fetched.cancel)
            for steps in [*rest, after]:
                following = FrameWindow(self._footage, steps, self._room)
                following.pending -= window.pending  # whoever decodes them for this one keeps what the next one needs
                fetched.add(self._batches([group for group in following.places if group in following.pending]))
                yield from self._shown(window, following, fetched)
                window = following
            unless_done.pop_all()
        self._begun = window, fetched

    def _taken_up(self, windows: Sequence[Window]) -> tuple[FrameWindow, GroupFetching, Sequence[Window]]:
        """The first of these windows as the call before began it, else an empty one; and those that follow."""
        begun, self._begun = self._begun, None
        if begun and windows and begun[0].shows(windows[0]):
            return *begun, windows[1:]
        if begun:
            begun[1].cancel()
        return FrameWindow(self._footage, (), self._room), GroupFetching(self._fetch, self._size, self._pool), windows

    def _shown(
        self, window: FrameWindow, following: FrameWindow, fetched: GroupFetching
    ) -> Iterator[NDArray[np.uint8]]:
        for step, groups in enumerate(window.steps):
            for group in groups:
                if group in window.pending:
                    window.pending.remove(group)
                    wanted = window.wanted(group) | following.wanted(group)
                    for frame, image in self._decode(self._footage.group(group), fetched.take(group), wanted):
                        window.put(group, frame, image)
                        following.keep(group, frame, image)
            yield window.take(step)

    def _batches(self, groups: Sequence[int]) -> list[list[int]]:
        """Groups of one file each that are read at once; in the order in which the first of each is needed."""
        batches: list[list[int]] = []
        filling: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        for number in groups:
            group = self._footage.group(number)
            batch = filling.get(group.path)
            if batch is None or len(batch) == _BATCH_GROUPS or sizes[group.path] + group.size > _BATCH_BYTES:
                batch = filling[group.path] = []
                sizes[group.path] = 0
                batches.append(batch)
            batch.append(number)
            sizes[group.path] += group.size
        return batches

    def _size(self, group: int) -> int:
        return self._footage.group(group).size

    def _fetch(self, batch: Sequence[int]) -> dict[int, Fetched]:
        """The verified bytes of each group of a batch. What is not what it should be is read a second time, alone."""
        groups = {number: self._footage.group(number) for number in batch}
        try:
            parts: Sequence[memoryview | None] = self._read(groups.values())
        except VolanoError as error:
            if error.code is not Code.STORE_CORRUPT:
                return {number: UnreadableError(group.first, error) for number, group in groups.items()}
            parts = [None] * len(batch)
        return {number: self._sure(groups[number], part) for number, part in zip(batch, parts, strict=True)}

    def _sure(self, group: Group, part: memoryview | None) -> Fetched:
        try:
            if part is None or hashlib.sha256(part).digest() != group.sha256:
                part = self._read([group])[0]
            if hashlib.sha256(part).digest() != group.sha256:
                raise _spoilt(group)
        except VolanoError as error:
            return UnreadableError(group.first, error)
        return bytes(part)

    def _read(self, groups: Collection[Group]) -> list[memoryview]:
        """All of one file."""
        path = next(iter(groups)).path
        return self._ranges.read(self._key_of(path), [(group.offset, group.size) for group in groups])

    def _decode(self, group: Group, data: bytes, wanted: Collection[int]) -> Iterator[tuple[int, ImageArray]]:
        """Those frames of a group; what comes behind the last of them is not decoded."""
        decoder, number = self._decoder(group.headers), 0
        last, ends = max(wanted) - group.first, [0, *np.cumsum(group.sizes).tolist()]
        packets: list[av.Packet | None] = []  # type: ignore[type-arg]
        for place, (begin, end) in enumerate(pairwise(ends[: last + 2])):
            packet = av.Packet(data[begin:end])
            packet.pts = packet.dts = place
            packets.append(packet)
        try:
            for given in [*packets, None]:
                for frame in decoder.decode(given):
                    if frame.pts != number or (frame.height, frame.width) != group.shape:
                        raise _refused(group, f"frame {frame.pts} of {frame.height} x {frame.width} came for {number}")
                    if group.first + number in wanted:
                        yield group.first + number, self._rgb.array(frame)
                    number += 1
            if number != last + 1:
                raise _refused(group, f"{last + 1} frames hold {number}")
        except av.error.FFmpegError as error:
            raise _refused(group, str(error)) from error
        finally:
            decoder.flush_buffers()

    def _decoder(self, headers: bytes) -> av.VideoCodecContext:
        if headers not in self._decoders:
            decoder = av.CodecContext.create("h264", "r")
            decoder.extradata, decoder.thread_count = headers, 1
            self._decoders[headers] = decoder
            while len(self._decoders) > _DECODERS:
                self._decoders.popitem(last=False)
        self._decoders.move_to_end(headers)
        return self._decoders[headers]


def _spoilt(group: Group) -> StorageError:
    cause = f"{group.path} has other bytes at {group.offset}"
    return StorageError(Code.STORE_CORRUPT, cause, "restore the object from a backup")


def _refused(group: Group, cause: str) -> UnreadableError:
    fix = "recall the episode and build the version again"
    return UnreadableError(group.first, DataError(Code.DATA_VERSION, f"{group.path}: {cause}", fix))
