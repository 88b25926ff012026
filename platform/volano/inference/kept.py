"""Images that a robot names instead of sending them again, because they are what it sent earlier in its episode.

A robot refers to an image by the number of the question that brought it and the SHA-256 of what was sent. The gateway
keeps one image for each camera of the contract, as long as one connection is in one episode; everything else has to be
sent whole. Nothing here waits or measures time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.errors import Code, WireError
from volano.inference.protocols.dialect import Terms
from volano.inference.protocols.spellings import Picture
from volano.inference.session import IDENTITY, image_key

ImageArray = NDArray[np.uint8]
Sent = Picture | ImageArray
"""An image as it was sent: a file, or an array."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """An image that is named."""

    seq: int
    """Of the question that brought it."""
    sha256: str


def digest(sent: Sent) -> str:
    """SHA-256 of an image as it was sent, in hexadecimal: of the file's bytes, or of an array's."""
    data = sent.data if isinstance(sent, Picture) else np.ascontiguousarray(sent).data
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, eq=False)
class _Whole:
    """An image that was sent."""

    seq: int
    sent: Sent
    image: ImageArray

    @cached_property
    def sha256(self) -> str:
        """Worked out when it is named for the first time."""
        return digest(self.sent)


class Kept:
    """What a gateway knows of one connection's images: at most one for each camera, of its size in the contract."""

    def __init__(self, embodiment: Embodiment, terms: Terms) -> None:
        self._shapes = {image_key(camera.name): (camera.height, camera.width, 3) for camera in embodiment.cameras}
        self._terms = terms
        self._episode = ""
        self._seq = -1
        self._images: dict[str, _Whole] = {}

    def completed(self, observation: Mapping[str, Any], seq: int) -> dict[str, Any]:
        """The observation of question `seq` with each named image of a camera in its place, uint8 (height, width, 3).

        Raises WireError: E-WIRE-003 when questions are not counted upwards, E-WIRE-001 for a way of sending that was
        not agreed on, E-WIRE-006 for an image that is not known by this name in this episode: send it whole.
        """
        if seq <= self._seq:
            raise WireError(Code.WIRE_OBSERVATION, f"question {seq} comes after question {self._seq}", "count upwards")
        self._seq = seq
        self._enter(_episode_of(observation))
        found = dict(observation)
        for key, value in observation.items():
            if isinstance(value, Picture) and value.coding != self._terms.coding:
                raise WireError(Code.WIRE_FRAME, f"field {key[:80]!r} is a {value.coding}, not as agreed", _AGREE)
            if isinstance(value, Named) and key in self._shapes:
                found[key] = self._known(key, value)
        return found

    def keep(self, sent: Mapping[str, Any], observation: Mapping[str, Any], seq: int) -> None:
        """Remember what question `seq` brought whole: `sent` as it came, `observation` with files opened."""
        if not self._terms.unchanged:
            return
        for key, shape in self._shapes.items():
            came, image = sent.get(key), observation.get(key)
            if not isinstance(image, np.ndarray) or not isinstance(came, Picture | np.ndarray):
                continue
            if image.dtype == np.uint8 and image.shape == shape:
                whole = image.copy() if isinstance(came, np.ndarray) else image  # an array is a view of its frame
                self._images[key] = _Whole(seq, came if isinstance(came, Picture) else whole, whole)

    def _known(self, key: str, named: Named) -> ImageArray:
        held = self._images.get(key)
        if held is None or held.seq != named.seq or held.sha256 != named.sha256:
            has = "none" if held is None else f"that of question {held.seq}"
            cause = f"field {key!r} names the image of question {named.seq}, the gateway has {has} in this episode"
            raise WireError(Code.WIRE_IMAGE, cause, "send it whole")
        return held.image

    def _enter(self, episode: str) -> None:
        if episode != self._episode:
            self._images.clear()
            self._episode = episode


_AGREE = "say in the hello how images are sent"


def _episode_of(observation: Mapping[str, Any]) -> str:
    """As the robot calls it; checked elsewhere, and kept only for comparison."""
    claims = observation.get(IDENTITY)
    named = claims.get("episode") if isinstance(claims, Mapping) else None
    return named if isinstance(named, str) else ""
