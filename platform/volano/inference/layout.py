"""A stock client's observation under our keys: its own names are found again in the contract, or stay foreign.

A camera is known by its name, whatever stands before it (`observation/wrist`, `images/wrist`, `video.wrist`). A state
is one vector in the contract's order (`observation/state`, `state`), or one vector for each group of channels: the
channels `joint_position.0` to `joint_position.6` are the group `joint_position`. Nothing is guessed from sizes, and
what is not recognised is left for `check_observation` to refuse by its name.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Channel, Embodiment
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key

_STEP = re.compile(r"[/.]")
_BEFORE = {"observation", "observations", "images", "image", "video", "state"}
"""What clients put before the name of a camera or a group."""


def groups(channels: tuple[Channel, ...]) -> dict[str, slice]:
    """The parts of a vector by the name before the last point of its channels' names, in order; a channel without a
    point is a part of its own."""
    found: dict[str, slice] = {}
    names = [channel.name.rpartition(".")[0] or channel.name for channel in channels]
    start = 0
    for name, members in groupby(names):
        stop = start + len(list(members))
        found[name if name not in found else channels[start].name] = slice(start, stop)
        start = stop
    return found


def arrange(embodiment: Embodiment, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The observation under our keys; states become float32, images of shape (3, height, width) (height, width, 3)."""
    if _keys(embodiment).issuperset(sent):
        return dict(sent)
    cameras = {camera.name: (camera.height, camera.width) for camera in embodiment.cameras}
    parts = groups(embodiment.state)
    arranged: dict[str, Any] = {}
    pieces: dict[str, Any] = {}
    for key, value in _flat(sent).items():
        name = _name(key)
        if key in {PROMPT, IDENTITY}:
            arranged[key] = value
        elif name in cameras and image_key(name) not in arranged:
            arranged[image_key(name)] = _upright(value, cameras[name])
        elif name == "state" and STATE not in arranged:
            arranged[STATE] = _vector(value)
        elif name in parts and name not in pieces:
            pieces[name] = value
        else:
            arranged[_unused(key, arranged)] = value
    state = _together(pieces, parts)
    return arranged | (pieces if state is None or STATE in arranged else {STATE: state})


@lru_cache(maxsize=1024)
def _keys(embodiment: Embodiment) -> frozenset[str]:
    """Of an observation that is under our keys already."""
    return frozenset({PROMPT, STATE, IDENTITY, *(image_key(camera.name) for camera in embodiment.cameras)})


def _together(pieces: Mapping[str, Any], parts: Mapping[str, slice]) -> NDArray[np.float32] | None:
    """One state of all its parts; None when one is missing or has another size."""
    if pieces.keys() != parts.keys():
        return None
    if not all(isinstance(piece, np.ndarray | np.floating) for piece in pieces.values()):
        return None
    vectors = [np.atleast_1d(_vector(pieces[name])) for name in parts]
    sizes = [(part.stop - part.start,) for part in parts.values()]
    whole = [vector.shape for vector in vectors] == sizes and all(vector.dtype == np.float32 for vector in vectors)
    return np.concatenate(vectors) if whole else None


def _flat(sent: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Maps within maps under paths with slashes; our own identity stays a map."""
    flat: dict[str, Any] = {}
    for key, value in sent.items():
        if isinstance(value, Mapping) and key != IDENTITY:
            for path, inner in _flat(value, f"{before}{key}/").items():
                flat[_unused(path, flat)] = inner
        else:
            flat[_unused(before + key, flat)] = value
    return flat


def _unused(key: str, known: Mapping[str, Any]) -> str:
    """A key for what was sent twice: no contract has it, so that it is refused by its name."""
    return f"{key} (twice)" if key in known else key


def _name(key: str) -> str:
    """A key without what clients put before names."""
    steps = _STEP.split(key)
    while len(steps) > 1 and steps[0] in _BEFORE:
        steps = steps[1:]
    return ".".join(steps)


def _upright(image: object, size: tuple[int, int]) -> object:
    if isinstance(image, np.ndarray) and image.shape == (3, *size) and image.shape != (*size, 3):
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    return image


def _vector(value: Any) -> Any:
    """A vector of floats as float32; anything else as it is."""
    if not isinstance(value, (np.ndarray, np.floating)) or value.dtype.kind != "f":
        return value
    with np.errstate(over="ignore"):  # an infinite state is refused by its channel's name
        narrow: NDArray[np.float32] = np.asarray(value, np.float32)
    return narrow
