"""Episodes of a car without bundles: rows, and what is kept of them."""

import numpy as np

from volano.data.episode import SCHEMA, STEPS_FILE, FileEntry, Manifest, Outcome, Segment
from volano.data.sketch import EpisodeSketch, sketch_rows
from volano.embodiment.shipped import CAR
from volano.storage.content import sha256_bytes

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def manifest_of(name: str, rows: int) -> Manifest:
    """The manifest of an episode of that many rows."""
    return Manifest(
        schema=SCHEMA,
        attempt=name,
        robot="car-01",
        embodiment=CAR.tag,
        fingerprint=CAR.fingerprint,
        task="drive",
        instruction="drive on",
        started_at=1.7e9,
        rate_hz=CAR.rate_hz,
        frames=rows,
        segments=(Segment(start=0, end=rows, kind="autonomous"),),
        outcome=Outcome(success=True, autonomous=True, source="script"),
        policies=(),
        rollout="",
        arm="",
        files={STEPS_FILE: FileEntry(size=1, sha256=sha256_bytes(name.encode()))},
    )


def sketch_of(name: str, states: Rows) -> EpisodeSketch:
    """A sketch of these states, with actions and pictures that follow from them."""
    return EpisodeSketch(
        content_id=manifest_of(name, len(states)).content_id,
        embodiment=CAR.fingerprint,
        rows=len(states),
        state=sketch_rows(states, CAR.state),
        action=sketch_rows(states[:, :3] / np.float32(16), CAR.action),
        cameras={"ego": np.full((3, 256), len(states), np.int64)},
    )
