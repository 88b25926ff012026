"""Pictures of episodes as training reads them: held in memory, or brought step by step by a supply."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volano.train.shots import Shots


class Film(Protocol):
    """What one camera saw of one episode; an array (T, height, width, 3) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, tick: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True)
class StreamedFilm:
    """Pictures that are there only in the steps that show them."""

    frames: range
    """Their numbers in the version's footage."""
    shown: Mapping[int, NDArray[np.uint8]]
    """Pictures of the step that a supply brought last, by the number of their frame."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, tick: int, /) -> NDArray[np.uint8]:
        return self.shown[self.frames[tick]]


class Supply(Protocol):
    """Brings the pictures of a stage's steps, in their order, from wherever they are decoded."""

    def bringing(self, shots: Shots, steps: range) -> AbstractContextManager[Callable[[int], None]]:
        """Within it, what it gives waits for a step's pictures; to be called for each of `steps`, in order. Raises
        TrainError(E-TRAIN-013) for a picture that cannot be decoded and E-TRAIN-014 where it cannot go on."""
        ...


def first_frame(film: Film) -> int:
    """Number of a streamed film's first frame."""
    assert isinstance(film, StreamedFilm), "only what is streamed has numbers"
    return film.frames.start
