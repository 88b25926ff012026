"""Steps whose pictures are decoded together: where each frame goes, and what has come so far. No decoding, no reading.

The pictures of a step are one row of bytes, into which each frame is written as it comes, in whatever order that is.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from volano.data.footage import Footage
from volano.data.video import ImageArray

Room = Callable[[int], NDArray[np.uint8]]
"""Memory for so many bytes of pictures, (bytes,)."""
Window = Sequence[NDArray[np.int64]]
"""Frames that each of some steps shows."""
_Places = dict[int, list[tuple[int, int]]]
"""Of each frame of a group: the steps that show it, and where among a step's bytes."""


class FrameWindow:
    """Of some steps."""

    def __init__(self, footage: Footage, steps: Window, room: Room) -> None:
        self._asked = steps
        self.steps: list[list[int]] = []
        """Groups of each step, some several times, in the order of its frames."""
        self.places: dict[int, _Places] = {}
        """By group, in the order in which they are needed."""
        self._room = room
        self._sizes: list[int] = []
        self._rows: dict[int, NDArray[np.uint8]] = {}
        self._kept: list[tuple[int, int, ImageArray]] = []
        for step, frames in enumerate(steps):
            groups, begins = footage.groups_of(frames).tolist(), footage.begins_of(frames).tolist()
            for frame, group, begin in zip(frames.tolist(), groups, begins[:-1], strict=True):
                self.places.setdefault(group, {}).setdefault(frame, []).append((step, begin))
            self.steps.append(groups)
            self._sizes.append(begins[-1])
        self.pending = set(self.places)
        """Groups that are still to be decoded for this window."""

    def shows(self, steps: Window) -> bool:
        """Whether it is of just these steps."""
        pairs = zip(self._asked, steps, strict=False)
        return len(self._asked) == len(steps) and all(np.array_equal(one, other) for one, other in pairs)

    def wanted(self, group: int) -> AbstractSet[int]:
        """Frames of a group."""
        return self.places.get(group, {}).keys()

    def put(self, group: int, frame: int, image: ImageArray) -> None:
        """Write a frame wherever it is shown; one that is not shown is left out."""
        for step, begin in self.places[group].get(frame, ()):
            self._row(step)[begin : begin + image.size].reshape(image.shape)[...] = image

    def keep(self, group: int, frame: int, image: ImageArray) -> None:
        """As `put`, but the room for the steps is taken only when the first of them is."""
        self._kept += [(step, begin, image) for step, begin in self.places.get(group, {}).get(frame, ())]

    def take(self, step: int) -> NDArray[np.uint8]:
        """The bytes of a step that is whole; once, and in the order of the steps."""
        for kept, begin, image in self._kept:
            self._row(kept)[begin : begin + image.size].reshape(image.shape)[...] = image
        self._kept.clear()
        return self._rows.pop(step, np.empty(0, np.uint8))

    def _row(self, step: int) -> NDArray[np.uint8]:
        if step not in self._rows:
            self._rows[step] = self._room(self._sizes[step])
        return self._rows[step]
