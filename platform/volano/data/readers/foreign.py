"""What every reader of a foreign format gives: episodes as plain values, numbers and images loaded when asked for.

Nothing here knows a format. A reader lists what it found (`Found`), cheaply; opening one answers with its fields,
cameras and texts by their foreign names, and says where in the source they stand. What a mapping does not name is never
loaded. Whatever is wrong with foreign bytes becomes a DataError.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.errors import Code, DataError
from volano.storage.files import FULL

MAX_FRAMES = 1_000_000
"""Most rows of one episode."""
MAX_WIDTH = 4096
"""Most numbers in one row of a field."""
MAX_SIDE = 8192
"""Most pixels along one side of an image."""
MAX_EPISODES = 1_000_000
MAX_LOADED_BYTES = 512 << 20
"""Most bytes that one episode's numbers, or one piece of a file, may take in memory."""
ImageArray = NDArray[np.uint8]
_BROKEN: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """Numbers with one row per frame."""

    width: int
    dtype: str
    """NumPy's name."""
    names: tuple[str, ...] = ()
    """Of the columns; empty when the source names none."""


@dataclass(frozen=True, kw_only=True)
class ForeignVideo:
    """Frames of an MP4: frame k of the episode stands at `start_s + k / rate_hz` seconds of the file."""

    path: Path
    start_s: float
    rate_hz: float


@dataclass(frozen=True, kw_only=True)
class ForeignImages:
    """Images that stand by themselves in the source."""

    height: int
    width: int
    coding: str
    """`raw`, `png` or `jpeg`: how the source holds them."""
    read: Callable[[], Iterator[ImageArray]]
    """Every image in order, uint8 RGB of shape (height, width, 3); raises DataError where one cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Numbers of T frames."""

    timestamp: NDArray[np.float64]
    """(T,), seconds from the episode's first frame."""
    numbers: Mapping[str, NDArray[np.generic]]
    """By field, (T, width)."""


@dataclass(frozen=True, kw_only=True)
class ForeignEpisode:
    """T frames of one attempt, under the names of the source."""

    source: str
    """Where it stands: a file and a place in it, for people."""
    frames: int
    rate_hz: float
    started_at: float | None
    """Unix time in seconds, where the source knows it."""
    texts: Mapping[str, str]
    """What the source says about the whole episode."""
    fields: Mapping[str, Field]
    cameras: Mapping[str, ForeignVideo | ForeignImages]
    load: Callable[[Collection[str]], Rows]
    """The rows of the named fields; raises DataError."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An episode that a source lists, not yet looked into."""

    name: str
    """Plain and unique in the source, for example `000012`."""
    source: str
    open: Callable[[], ForeignEpisode]
    """Look into it; raises DataError."""


def refuse(cause: str, code: Code = Code.DATA_FOREIGN) -> DataError:
    """The error of a source that is not what it says."""
    fixes = {
        Code.DATA_SIZE: "split the source, or leave out what is that large",
        Code.DATA_OUTSIDE: "copy the dataset into one folder without links",
        Code.DATA_MISSING_FILE: "copy the dataset whole",
    }
    return DataError(code, cause, fixes.get(code, "repair the source with the tool that wrote it, or leave it out"))


def require(holds: bool, cause: str, code: Code = Code.DATA_FOREIGN) -> None:
    """Raise DataError unless the source keeps to this."""
    if not holds:
        raise refuse(cause, code)


@contextmanager
def understood(what: str, *more: type[Exception], code: Code = Code.DATA_FOREIGN) -> Iterator[None]:
    """Turn whatever foreign bytes make a library raise into a DataError of this code; `more` are the library's own
    exceptions. A DataError passes as it is, and so does a full disk, which is no fault of the source; too little memory
    is E-DATA-017."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise refuse(f"{what} needs more memory than there is", Code.DATA_SIZE) from error
    except (*_BROKEN, *more) as error:
        if getattr(error, "errno", None) in FULL:
            raise
        raise refuse(f"{what} cannot be read: {type(error).__name__}: {error}"[:300], code) from error


def numbered(frames: int, rate_hz: float) -> NDArray[np.float64]:
    """Timestamps of a source without a clock, (frames,): k / rate_hz."""
    return np.arange(frames, dtype=np.float64) / rate_hz
