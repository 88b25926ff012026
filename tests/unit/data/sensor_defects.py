"""Generators of what a robot records wrong while every file is sound: its clock, its channels, its cameras.

Each takes a draft and writes a bundle whose manifest agrees with its files byte by byte.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.bundles import (
    ARM,
    Draft,
    claims_with,
    columns,
    encode,
    images_of,
    manifest_of,
    write_bundle,
    write_steps,
)
from volano.data.episode import STEPS_FILE, Manifest, video_file
from volano.errors import Code

Defect = Callable[[Path, Draft], Manifest]
Columns = dict[str, Any]
Random = np.random.Generator
Images = list[NDArray[np.uint8]]


def ticks(change: Callable[[Columns, Draft, Random], None]) -> Defect:
    """The defect that `change` makes of the columns, in place."""

    def write(folder: Path, draft: Draft) -> Manifest:
        write_bundle(folder, draft)
        table = columns(draft)
        change(table, draft, np.random.default_rng((draft.seed, 1)))
        write_steps(folder / STEPS_FILE, table, draft.embodiment)
        return manifest_of(folder, draft)

    return write


def seen(change: Callable[[Images], Images], *, camera: int = 0, **options: Any) -> Defect:
    """The defect that `change` makes of one camera's pictures, or `options` of how they are encoded."""

    def write(folder: Path, draft: Draft) -> Manifest:
        write_bundle(folder, draft)
        one = draft.embodiment.cameras[camera]
        settings = {"rate": int(draft.embodiment.rate_hz), "options": dict(draft.video_options), **options}
        encode(folder / video_file(one.name), change(images_of(draft, one)), **settings)
        return manifest_of(folder, draft)

    return write


def on(defect: Defect, **changes: Any) -> Defect:
    """The defect on another draft: what needs a certain robot or motion."""
    return lambda folder, draft: defect(folder, replace(draft, **changes))


def jittering(table: Columns, draft: Draft, random: Random) -> None:
    """Every third tick is late, and the next follows in a burst."""
    late = random.uniform(0.6, 0.9) / draft.embodiment.rate_hz
    table["timestamp"] = [time + late * (row % 3 == 1) for row, time in enumerate(table["timestamp"])]


def skipping(table: Columns, draft: Draft, random: Random) -> None:
    """Every fourth or sixth tick was not recorded."""
    every, period = int(random.choice((4, 6))), 1 / draft.embodiment.rate_hz
    table["timestamp"] = [time + period * (row // every) for row, time in enumerate(table["timestamp"])]


def in_degrees(name: str, channel: int) -> Callable[[Columns, Draft, Random], None]:
    def change(table: Columns, _draft: Draft, _random: Random) -> None:
        table[name][:, channel] = np.degrees(table[name][:, channel])

    return change


def in_millimetres(table: Columns, _draft: Draft, _random: Random) -> None:
    table["state"][:, 2] *= 1000


def spiking(table: Columns, draft: Draft, random: Random) -> None:
    row = int(random.integers(2, draft.frames - 2))
    table["state"][row, 0] -= np.copysign(2.5, table["state"][row, 0])


def saturating(table: Columns, draft: Draft, random: Random) -> None:
    """A scale that is far too large, and clipped."""
    low, high = (np.array([getattr(one, side) for one in draft.embodiment.action]) for side in ("low", "high"))
    table["action"] = np.where(random.random(table["action"].shape) < 0.5, low, high).astype(np.float32)


def stuck(table: Columns, draft: Draft, _random: Random) -> None:
    """The first joint stops within the first half, where it is in the middle of its way."""
    way = table["action"][:, 0]
    row = int(np.abs(table["state"][: draft.frames // 2, 0] - (way.min() + way.max()) / 2).argmin())
    table["state"][row:, 0] = table["state"][row, 0]


def motionless(table: Columns, _draft: Draft, _random: Random) -> None:
    table["state"][:] = table["state"][0]


def dead_actions(table: Columns, draft: Draft, _random: Random) -> None:
    table["action"][:] = draft.embodiment.hold


def swapped_channels(table: Columns, draft: Draft, random: Random) -> None:
    """Both states follow their actions, and stand in each other's column."""
    turns = 2 * np.pi * np.arange(draft.frames) / draft.frames
    action = np.sin(np.outer(turns, (2, 3)) + random.uniform(0, 2 * np.pi, 2)) * (0.8, 1.5)
    measured = np.concatenate((action[:1], action[:-1])) + random.normal(0, 1e-3, action.shape)
    table["action"], table["state"] = action.astype(np.float32), measured[:, ::-1].astype(np.float32)


def repeated_rows(every: int) -> Callable[[Columns, Draft, Random], None]:
    def change(table: Columns, draft: Draft, _random: Random) -> None:
        table["state"] = table["state"][np.arange(draft.frames) // every * every]

    return change


def unnamed_source(table: Columns, _draft: Draft, _random: Random) -> None:
    table["policy"][0] = ""


def blank(value: tuple[int, int, int]) -> Callable[[Images], Images]:
    """From a third of the episode on, every picture has one colour."""

    def change(images: Images) -> Images:
        return [image if k < len(images) // 3 else np.full_like(image, value) for k, image in enumerate(images)]

    return change


def frozen(images: Images) -> Images:
    return [images[min(k, len(images) // 5)] for k in range(len(images))]


def slower(every: int) -> Callable[[Images], Images]:
    return lambda images: [images[k // every * every] for k in range(len(images))]


def swapped_videos(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    one, two = (folder / video_file(camera.name) for camera in draft.embodiment.cameras)
    one.rename(folder / "aside")
    two.rename(one)
    (folder / "aside").rename(two)
    return manifest_of(folder, draft)


def one_device_twice(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    one, two = (folder / video_file(camera.name) for camera in draft.embodiment.cameras)
    shutil.copyfile(one, two)
    return manifest_of(folder, draft)


def one_device_encoded_twice(folder: Path, draft: Draft) -> Manifest:
    write_bundle(folder, draft)
    one, two = draft.embodiment.cameras
    encode(folder / video_file(two.name), images_of(draft, one), rate=20, options={"crf": "20"})
    return manifest_of(folder, draft)


def idle_policy(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    return claims_with(manifest, policies=(*manifest.policies, "cd" * 32))


def clock_at_zero(folder: Path, draft: Draft) -> Manifest:
    return claims_with(write_bundle(folder, draft), started_at=86_400.0)


def helped_and_autonomous(folder: Path, draft: Draft) -> Manifest:
    manifest = write_bundle(folder, draft)
    return claims_with(manifest, outcome=replace(manifest.outcome, autonomous=True))


_ARM: dict[str, Any] = {"embodiment": ARM, "motion": "driven"}
SENSOR_DEFECTS: dict[str, tuple[Code, Defect]] = {
    "ticks in bursts": (Code.DATA_CLOCK_JITTER, ticks(jittering)),
    "ticks left out": (Code.DATA_DROPPED_TICKS, ticks(skipping)),
    "clock never set": (Code.DATA_CLOCK_UNSET, clock_at_zero),
    "frozen camera": (Code.DATA_FROZEN_CAMERA, on(seen(frozen), **_ARM)),
    "frozen second camera": (Code.DATA_FROZEN_CAMERA, on(seen(frozen, camera=1), **_ARM)),
    "frozen from the start": (Code.DATA_FROZEN_CAMERA, on(seen(lambda images: images[:1] * len(images)), **_ARM)),
    "camera at half the rate": (Code.DATA_REPEATED_FRAMES, seen(slower(2))),
    "camera at a third of the rate": (Code.DATA_REPEATED_FRAMES, on(seen(slower(3)), motion="driven")),
    "black pictures": (Code.DATA_BLACK_IMAGE, seen(blank((0, 0, 0)))),
    "over-exposed pictures": (Code.DATA_WHITE_IMAGE, seen(blank((255, 255, 255)))),
    "grey pictures": (Code.DATA_FLAT_IMAGE, seen(blank((128, 128, 128)))),
    "blue pictures": (Code.DATA_FLAT_IMAGE, seen(blank((0, 0, 255)))),
    "video at another rate": (Code.DATA_VIDEO_CLOCK, seen(lambda images: images, rate=17)),
    "gap within a video": (Code.DATA_VIDEO_CLOCK, seen(lambda images: images, pause=2)),
    "swapped cameras": (Code.DATA_SWAPPED_CAMERAS, swapped_videos),
    "one camera twice": (Code.DATA_SAME_PICTURES, on(one_device_twice, **_ARM)),
    "one camera encoded twice": (Code.DATA_SAME_PICTURES, on(one_device_encoded_twice, **_ARM)),
    "saturated actions": (Code.DATA_SATURATED, ticks(saturating)),
    "stuck joint": (Code.DATA_STUCK_CHANNEL, on(ticks(stuck), **_ARM, frames=60)),
    "stuck speed": (Code.DATA_STUCK_CHANNEL, on(ticks(stuck), motion="noise", frames=40)),
    "no motion": (Code.DATA_NO_MOTION, ticks(motionless)),
    "dead actions": (Code.DATA_DEAD_ACTIONS, on(ticks(dead_actions), **_ARM)),
    "state in degrees": (Code.DATA_UNITS, on(ticks(in_degrees("state", 0)), **_ARM)),
    "action in degrees": (Code.DATA_UNITS, on(ticks(in_degrees("action", 1)), **_ARM)),
    "state in millimetres": (Code.DATA_UNITS, on(ticks(in_millimetres), **_ARM)),
    "swapped channels": (Code.DATA_CHANNEL_ORDER, ticks(swapped_channels)),
    "leaping joint": (Code.DATA_SPIKE, on(ticks(spiking), **_ARM)),
    "states at half the rate": (Code.DATA_REPEATED_ROWS, ticks(repeated_rows(2))),
    "states at a third of the rate": (Code.DATA_REPEATED_ROWS, ticks(repeated_rows(3))),
    "source without a policy": (Code.DATA_PROVENANCE, ticks(unnamed_source)),
    "policy that never acted": (Code.DATA_PROVENANCE, idle_policy),
    "autonomous with an intervention": (Code.DATA_OUTCOME, helped_and_autonomous),
}
