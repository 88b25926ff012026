"""GR00T's names for a contract: one video for each camera, one state and one action for each group of channels.

Channels `left_arm.0` to `left_arm.6` are the group `left_arm`. A contract none of whose channels has a point in its
name is one group, called `state` or `action`. Clients send one robot (B = 1) and one moment (T = 1), as arrays with
those two sides in front, the flat form without B as well.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Channel, Embodiment
from volano.errors import Code, WireError
from volano.inference.guard import FloatArray
from volano.inference.layout import arrange, groups
from volano.inference.protocols.arrays import shown
from volano.inference.session import PROMPT

LANGUAGE = "annotation.human.task_description"
"""What we call the instruction; a client may use any name under `annotation` or `language`."""
_NESTED = ("video", "state", "language")
_TEXTS = ("annotation", "language")
_SIDES = {"video": 3, "state": 1}
"""Sides of an image and of a vector, without B and T."""


def observation_of(embodiment: Embodiment, sent: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The observation under our keys, and whether its states came with B in front. What is not of the contract stays
    under its own name, for `check_observation` to refuse. Raises WireError(E-WIRE-003) for an instruction that is not
    one text."""
    found: dict[str, Any] = {}
    batched: list[bool] = []
    for key, value in _flat(sent).items():
        modality = key.partition(".")[0]
        if modality in _TEXTS:
            text = _text(value)
            if not isinstance(text, str):
                raise WireError(Code.WIRE_OBSERVATION, f"{shown(key)} is no text, or several", "send one")
            known = found.setdefault(PROMPT, text)
            if not isinstance(known, str) or known != text:
                raise WireError(Code.WIRE_OBSERVATION, f"{shown(key)} is a second instruction", "send one")
        elif modality in _SIDES and isinstance(value, np.ndarray):
            batched += [value.ndim > 2] if modality == "state" else []
            found[key] = _single(value, _SIDES[modality])
        else:
            found[key] = value
    return arrange(embodiment, found), bool(batched) and all(batched)


def actions_of(embodiment: Embodiment, chunk: FloatArray, *, before: str, batched: bool) -> dict[str, FloatArray]:
    """A chunk by groups, each (horizon, channels) or, batched, (1, horizon, channels), its name after `before`."""
    rows = chunk[np.newaxis] if batched else chunk
    return {
        before + name: np.ascontiguousarray(rows[..., part])
        for name, part in _parts(embodiment.action, "action").items()
    }


def modalities(embodiment: Embodiment, *, prefixed: bool) -> dict[str, dict[str, Any]]:
    """Names and moments of every modality, as `get_modality_config` tells them; N1.5 has the modality's name before
    each of them."""
    keys = {
        "video": [camera.name for camera in embodiment.cameras],
        "state": list(_parts(embodiment.state, "state")),
        "action": list(_parts(embodiment.action, "action")),
        "language": [LANGUAGE],
    }
    told = {}
    for modality, names in keys.items():
        before = f"{modality}." if prefixed and modality != "language" else ""
        moments = list(range(embodiment.horizon)) if modality == "action" else [0]
        if names:
            told[modality] = {"delta_indices": moments, "modality_keys": [before + name for name in names]}
    return told


def _parts(channels: tuple[Channel, ...], whole: str) -> dict[str, slice]:
    if any("." in channel.name for channel in channels):
        return groups(channels)
    return {whole: slice(0, len(channels))} if channels else {}


def _flat(sent: Mapping[str, Any]) -> dict[str, Any]:
    """`{"video": {"ego": …}}` as `{"video.ego": …}`."""
    flat: dict[str, Any] = {}
    for key, value in sent.items():
        if key in _NESTED and isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat


def _text(value: Any) -> Any:
    """The text in lists of one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _single(array: NDArray[Any], sides: int) -> NDArray[Any]:
    """Without leading sides of one."""
    while array.ndim > sides and array.shape[0] == 1:
        array = array[0]
    return array
