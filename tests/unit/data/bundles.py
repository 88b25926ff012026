"""Makes episode bundles for the tests: clean ones, and one generator for each defect a robot may upload.

Every frame carries its own number, drawn as black and white blocks that survive H.264, so that a frame can be
recognised after any number of copies.
"""

import json
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.unit.data.trajectories import Motion, course, pictures
from volano.data.episode import (
    SCHEMA,
    STEPS_FILE,
    FileEntry,
    Manifest,
    Outcome,
    Segment,
    video_file,
)
from volano.data.steps import steps_schema
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.storage.content import sha256_file
from volano.storage.store import ObjectStore

POLICY = "ab" * 32
ROVER = Embodiment(
    tag="rover",
    family="navigation",
    body="mobile base",
    cameras=(Camera(name="ego", height=64, width=64), Camera(name="rear", height=48, width=64)),
    state=(
        Channel(name="speed", unit="m/s", low=-5.0, high=5.0),
        Channel(name="yaw_rate", unit="rad/s", low=-10.0, high=10.0),
    ),
    action=(
        Channel(name="speed", unit="m/s", low=-1.0, high=1.0),
        Channel(name="yaw_rate", unit="rad/s", low=-2.0, high=2.0),
    ),
    control_mode="differential drive",
    rate_hz=10.0,
    horizon=8,
    execute=4,
    hold=(0.0, 0.0),
)
_JOINTS = (
    Channel(name="shoulder", unit="rad", low=-3.14, high=3.14),
    Channel(name="elbow", unit="rad", low=-3.14, high=3.14),
    Channel(name="lift", unit="m", low=0.0, high=1.0),
    Channel(name="gripper", unit="1", low=0.0, high=1.0),
)
ARM = Embodiment(
    tag="arm",
    family="manipulation",
    body="single arm",
    cameras=(Camera(name="left", height=64, width=64), Camera(name="right", height=64, width=64)),
    state=_JOINTS,
    action=_JOINTS,
    control_mode="joint positions",
    rate_hz=20.0,
    horizon=8,
    execute=4,
    hold=(0.0, 0.0, 0.0, 0.0),
)
"""Two cameras of one size, and states that are the measured side of actions."""
KNOWN = {robot.fingerprint: robot for robot in (ROVER, ARM)}
_BLOCK = 16
_BITS = 12


def draw(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """An image that holds `number` in blocks of 16 x 16 pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(_BITS):
        row, column = divmod(bit, 4)
        value = 235 if number >> bit & 1 else 20
        image[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK] = value
    return image


def read_number(image: NDArray[Any]) -> int:
    """The number that `draw` put into an image (H, W, 3), uint8."""
    bits = []
    for bit in range(_BITS):
        row, column = divmod(bit, 4)
        block = image[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK]
        bits.append(int(block.mean() > 128) << bit)
    return sum(bits)


def encode(
    path: Path,
    images: list[NDArray[np.uint8]],
    *,
    rate: int,
    codec: Literal["libx264", "mpeg4"] = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pause: int = 0,
) -> None:
    """Write an MP4; `pause` is how many frames' time passes before the second half."""
    height, width, _ = images[0].shape
    settings = {"preset": "veryfast", "crf": "23", "g": "15", "bf": "0", **(options or {})}
    with av.open(str(path), "w", format="mp4", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=settings if codec == "libx264" else options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number + (pause if number >= len(images) // 2 else 0)
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An episode before it is written; a defect replaces what it spoils."""

    attempt: str = "attempt-0001"
    robot: str = "rover-01"
    seed: int = 0
    frames: int = 20
    first_number: int = 0
    instruction: str = "go to the red ball"
    embodiment: Embodiment = ROVER
    motion: Motion = "noise"
    video_options: tuple[tuple[str, str], ...] = ()


def columns(draft: Draft) -> dict[str, Any]:
    """The clean table of ticks as plain columns."""
    moved = course(draft.motion, draft.embodiment, draft.frames, np.random.default_rng(draft.seed))
    half = draft.frames // 2
    return {
        "frame_index": list(range(draft.frames)),
        "timestamp": moved.timestamp.tolist(),
        "state": moved.state,
        "action": moved.action,
        "segment": ["autonomous"] * half + ["intervention"] * (draft.frames - half),
        "policy": [POLICY] * half + [""] * (draft.frames - half),
        "request": ["r1"] * half + [""] * (draft.frames - half),
        "executed": ["policy"] * half + ["expert"] * (draft.frames - half),
    }


def write_steps(path: Path, table: dict[str, Any], robot: Embodiment) -> None:
    """Write columns as the table of ticks."""
    schema = steps_schema(len(robot.state), len(robot.action))
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(table[field.name].reshape(-1)), field.type.list_size)
        if isinstance(table[field.name], np.ndarray)
        else pa.array(table[field.name], type=field.type)
        for field in schema
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def images_of(draft: Draft, camera: Camera) -> list[NDArray[np.uint8]]:
    """What a camera of the draft saw; with noise for motion, the frames' numbers."""
    if draft.motion == "noise":
        return [draw(draft.first_number + k, camera.height, camera.width) for k in range(draft.frames)]
    random = np.random.default_rng((draft.seed, *camera.name.encode()))
    return pictures(draft.motion, camera, columns(draft)["state"], random)


def write_videos(folder: Path, draft: Draft) -> None:
    """Write every camera's video."""
    for camera in draft.embodiment.cameras:
        encode(
            folder / video_file(camera.name),
            images_of(draft, camera),
            rate=int(draft.embodiment.rate_hz),
            options=dict(draft.video_options),
        )


def manifest_of(folder: Path, draft: Draft) -> Manifest:
    """The manifest of the files as they are in the folder."""
    half = draft.frames // 2
    return Manifest(
        schema=SCHEMA,
        attempt=draft.attempt,
        robot=draft.robot,
        embodiment=draft.embodiment.tag,
        fingerprint=draft.embodiment.fingerprint,
        task="go-to",
        instruction=draft.instruction,
        started_at=1.7e9,
        rate_hz=draft.embodiment.rate_hz,
        frames=draft.frames,
        segments=(
            Segment(start=0, end=half, kind="autonomous"),
            Segment(start=half, end=draft.frames, kind="intervention"),
        ),
        outcome=Outcome(success=True, autonomous=False, source="script"),
        policies=(POLICY,),
        rollout="",
        arm="",
        files={
            path.name: FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
            for path in sorted(folder.iterdir())
        },
    )


def write_bundle(folder: Path, draft: Draft) -> Manifest:
    """A clean bundle."""
    folder.mkdir(parents=True)
    write_steps(folder / STEPS_FILE, columns(draft), draft.embodiment)
    write_videos(folder, draft)
    return manifest_of(folder, draft)


def upload(store: ObjectStore, folder: Path, manifest: Manifest) -> str:
    """Put a bundle as a robot does: blobs first, the manifest last. Returns the upload's key."""
    for name, entry in manifest.files.items():
        if (folder / name).exists():
            store.put_new_file(f"blobs/{entry.sha256}", folder / name)
    key = f"uploads/{manifest.robot}/{manifest.attempt}.json"
    store.put_new(key, manifest.to_bytes())
    return key


def claims_with(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with some claims replaced."""
    return replace(manifest, **changes)


def as_plain(manifest: Manifest) -> Any:
    """The manifest as plain JSON data."""
    return json.loads(json.dumps(asdict(manifest)))
