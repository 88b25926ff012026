"""Attempts for the benchmarks of the data plane: arms with as many cameras as wanted, whose pictures move as it does.

They are clean by the gate's own checks. Noise on the pictures gives videos the size of real ones.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.bundles import ARM, Draft, encode, images_of, manifest_of, upload, write_steps
from tests.unit.data.bundles import columns as columns_of
from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.embodiment.contract import Camera, Embodiment
from volano.storage.store import ObjectStore

Images = dict[str, list[NDArray[np.uint8]]]
_NOISE = 6.0
"""Standard deviation of the noise, of 255."""


def arm(cameras: int, height: int, width: int) -> Embodiment:
    """A four-joint arm at 20 Hz."""
    views = tuple(Camera(name=f"view{number}", height=height, width=width) for number in range(cameras))
    return replace(ARM, tag=f"arm{cameras}x{height}", cameras=views)


def draft(robot: Embodiment, number: int, frames: int) -> Draft:
    """Attempt `number` of one robot."""
    return Draft(
        attempt=f"attempt-{number:05d}", robot="arm-01", seed=number, frames=frames, embodiment=robot, motion="driven"
    )


def pictures(wanted: Draft) -> Images:
    """What its cameras see, (height, width, 3) each."""
    rng, found = np.random.default_rng((wanted.seed, 7)), Images()
    for camera in wanted.embodiment.cameras:
        noise = rng.normal(0, _NOISE, (8, camera.height, camera.width, 3))
        found[camera.name] = [
            np.clip(image + noise[number % 8], 0, 255).astype(np.uint8)
            for number, image in enumerate(images_of(wanted, camera))
        ]
    return found


def bundle(folder: Path, wanted: Draft) -> Manifest:
    """Write its bundle, as a robot would with H.264."""
    folder.mkdir(parents=True)
    write_steps(folder / STEPS_FILE, columns_of(wanted), wanted.embodiment)
    for name, images in pictures(wanted).items():
        options = dict(wanted.video_options)
        encode(folder / video_file(name), images, rate=int(wanted.embodiment.rate_hz), options=options)
    return manifest_of(folder, wanted)


def send(store: ObjectStore, folder: Path, wanted: Draft) -> str:
    """Write and upload it; the upload's key."""
    return upload(store, folder, bundle(folder, wanted))
