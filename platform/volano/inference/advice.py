"""What to change on a robot whose observation is not its contract's: the likeliest mistake, in one line.

Pure, and no part of the decision: an observation is refused whether or not its mistake is recognised.
"""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Channel

_ALIKE = 0.6
_OTHER_UNITS = {"rad": (180 / math.pi, "degrees"), "m": (1000.0, "millimetres")}
"""What people send in place of a unit, and how many of it make one."""
FAR = 3.0
"""A value that is so many times beyond its limits is in another unit; less may be a disturbance."""


def rename(field: str, others: Iterable[str]) -> str | None:
    """The one of the other side's names that is most like a field's; None when none is. What stands before the last
    slash is not compared: clients differ there."""
    by_end = {other.rpartition("/")[2]: other for other in others}
    found = get_close_matches(field.rpartition("/")[2], by_end, n=1, cutoff=_ALIKE)
    return by_end[found[0]] if found else None


def correct_image(value: object, height: int, width: int, others: Mapping[str, tuple[int, int]]) -> str:
    """What to change in an image that has to be uint8 (height, width, 3); `others` are the sizes of other cameras."""
    if not isinstance(value, np.ndarray):
        return "send it as an array"
    shape, whole = value.shape, (height, width, 3)
    known = {
        (3, height, width): "move the channels to the end",
        (width, height, 3): "swap height and width",
        (1, *whole): "send one image without an axis before it",
        (height, width): "send three channels, not one",
        (height, width, 1): "send three channels, not one",
        (height, width, 4): "leave out the fourth channel",
    }
    if shape == whole:
        return _correct_type(value)
    if shape in known:
        return known[shape]
    same = [name for name, size in others.items() if (*size, 3) == shape]
    if same:
        return f"it has the size of camera {same[0]!r}: send the cameras in the contract's order"
    return f"resize it to {height} x {width} on the robot"


def _correct_type(image: NDArray[np.generic]) -> str:
    if image.dtype.kind != "f" or not image.size:
        return "send uint8"
    low, high = float(np.min(image)), float(np.max(image))
    if low >= 0 and high <= 1:
        return "its values are within 0 and 1: multiply by 255 and send uint8"
    if low >= -1 and high <= 1:
        return "its values are within -1 and 1: add 1, multiply by 127.5 and send uint8"
    return "round it and send uint8"


def correct_state(value: object, channels: tuple[Channel, ...]) -> str:
    """What to change in a state that has to be float32 (channels,)."""
    if isinstance(value, np.ndarray) and value.shape == (len(channels),):
        return "send float32"
    if isinstance(value, np.ndarray) and value.shape == (1, len(channels)):
        return "send one state without an axis before it"
    return f"send {len(channels)} values: {', '.join(channel.name for channel in channels)}"


def other_unit(channels: tuple[Channel, ...], values: NDArray[np.float32]) -> tuple[int, str] | None:
    """(channel's number, unit) of the first value that is far beyond its limits, and within them in another unit."""
    for number, (channel, value) in enumerate(zip(channels, values.tolist(), strict=True)):
        count, unit = _OTHER_UNITS.get(channel.unit.partition("/")[0], (math.inf, ""))
        limit = max(abs(channel.low), abs(channel.high))
        if abs(value) > FAR * limit and channel.low <= value / count <= channel.high and unit:
            return number, unit
    return None
