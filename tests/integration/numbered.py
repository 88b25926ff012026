"""A dataset version in whose every image stand the episode, the tick and the camera that it is of."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.bundles import (
    ARM,
    KNOWN,
    ROVER,
    Draft,
    claims_with,
    draw,
    encode,
    manifest_of,
    read_number,
    upload,
    write_bundle,
)
from volano.data.build import build_version
from volano.data.episode import video_file
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.embodiment.contract import Embodiment
from volano.storage.open import open_store

_TICKS = 64
_SETTINGS = [(), (("g", "250"),), (("bf", "3"), ("b-adapt", "0")), (("g", "4"),)]


def code(episode: int, tick: int, camera: int) -> int:
    """The number of an image, 12 bits."""
    return (episode * _TICKS + tick) * 2 + camera


def decode(image: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Episode, tick and camera of an image."""
    rest, camera = divmod(read_number(image), 2)
    episode, tick = divmod(rest, _TICKS)
    return episode, tick, camera


def numbered_version(folder: Path, url: str) -> tuple[str, dict[str, int]]:
    """A version in a store with episodes of two robots, of two parts each, and the number of each episode by its
    content."""
    store, found, version = open_store(url), dict[str, int](), ""
    for number in range(12):
        robot = (ROVER, ARM)[number % 2]
        draft = Draft(
            embodiment=robot,
            robot=f"{robot.tag}-01",
            seed=number,
            frames=30 + 3 * number,
            instruction=f"go {number % 3}",
        )
        place = folder / f"bundle-{number}"
        write_bundle(place, draft)
        _draw(place, robot, draft, number)
        manifest = claims_with(manifest_of(place, draft), attempt=f"attempt-{number}")
        upload(store, place, manifest)
        found[manifest.content_id] = number
        if number in (6, 11):
            judge(store, pending(store), KNOWN, lambda bundles: [None for _ in bundles])
            version = build_version(store, parent=version, reason="test", select=lambda _: 1.0, known=KNOWN).id
    return version, found


def _draw(place: Path, robot: Embodiment, draft: Draft, number: int) -> None:
    for camera, view in enumerate(robot.cameras):
        images = [draw(code(number, tick, camera), view.height, view.width) for tick in range(draft.frames)]
        options = dict(_SETTINGS[number // 2 % len(_SETTINGS)])
        encode(place / video_file(view.name), images, rate=int(robot.rate_hz), options=options)
