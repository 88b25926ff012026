"""Bundles of random bytes in any sizes, for what never looks into the files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.unit.data.bundles import Draft, manifest_of
from volano.data.bundle import MANIFEST_FILE
from volano.data.episode import STEPS_FILE

PART = 1000
"""Bytes of a part in tests that make parts small."""
SIZES = {STEPS_FILE: 300, "camera.ego.mp4": 3 * PART + 10, "camera.rear.mp4": 2 * PART}


def heavy(
    folder: Path,
    attempt: str = "attempt-0001",
    *,
    robot: str = "rover-01",
    sizes: Mapping[str, int] = SIZES,
    seed: int = 0,
) -> Path:
    """A finished bundle."""
    bundle = folder / attempt
    bundle.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for name, size in sizes.items():
        (bundle / name).write_bytes(random.bytes(size))
    manifest = manifest_of(bundle, Draft(attempt=attempt, robot=robot))
    (bundle / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return bundle
