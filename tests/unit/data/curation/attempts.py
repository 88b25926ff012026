"""Attempts whose right treatment is known: copies, late starts, pauses, jitter, chance and skill, as features.

They are made from ticks and thumbnails without any file; what decoding adds is tested with real bundles.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.bundles import ARM
from tests.unit.data.trajectories import waves
from volano.data.curation.decide import Episode
from volano.data.curation.extract import extract
from volano.data.episode import SCHEMA, STEPS_FILE, FileEntry, Manifest, Outcome, Segment, SegmentKind
from volano.data.steps import Steps
from volano.data.video_summary import VideoSummary
from volano.embodiment.contract import Embodiment
from volano.storage.content import sha256_bytes

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """T ticks, as shares of the contract's ranges, and what the cameras saw."""

    state: Values
    action: Values
    scene: NDArray[np.uint8]
    """(T, 8, 8)."""
    robot: Embodiment = ARM

    def __getitem__(self, ticks: slice) -> "Attempt":
        return replace(self, state=self.state[ticks], action=self.action[ticks], scene=self.scene[ticks])

    def held(self, at: int, ticks: int) -> "Attempt":
        """The attempt with a pause of so many ticks before tick `at`."""
        index = np.concatenate((np.arange(at), np.full(ticks, at), np.arange(at, len(self.state))))
        return replace(self, state=self.state[index], action=self.action[index], scene=self.scene[index])


def attempt(seed: int, ticks: int = 120, robot: Embodiment = ARM) -> Attempt:
    """A smooth motion of its own in a scene of its own; the action is where the state goes next."""
    random = np.random.default_rng(seed)
    moved = 0.5 + 0.3 * waves(ticks + 1, len(robot.state), random)
    wide = random.integers(20, 230, (8, 8 + ticks // 8 + 1))
    scene = np.stack([wide[:, tick // 8 : tick // 8 + 8] for tick in range(ticks)]).astype(np.uint8)
    return Attempt(state=moved[:-1], action=moved[1:, : len(robot.action)], scene=scene, robot=robot)


def two_cameras(seed: int, *, alike: float = 0.0) -> tuple[Attempt, Attempt]:
    """One motion as a camera on the ceiling and one on the wrist see it: the room stays, and what is in it differs each
    time. `alike` mixes the second room with the first, 1 for one room."""
    random, one = np.random.default_rng(1000 + seed), attempt(seed)
    ceiling, wrist = np.random.default_rng(1).integers(20, 230, (2, 8, 8)).astype(np.float64)
    rooms = ceiling, alike * ceiling + (1 - alike) * wrist
    scenes = []
    for room in rooms:
        moving = random.normal(0, 12, one.scene.shape).cumsum(axis=0) / np.sqrt(np.arange(1, 121))[:, None, None]
        scenes.append(np.clip(room + moving, 0, 255).astype(np.uint8))
    return replace(one, scene=scenes[0]), replace(one, scene=scenes[1])


def manifest_of(name: str, ticks: int, robot: Embodiment, **claims: Any) -> Manifest:
    """The manifest of a success that needed no help, with some claims replaced."""
    made = Manifest(
        schema=SCHEMA,
        attempt=name,
        robot="arm-01",
        embodiment=robot.tag,
        fingerprint=robot.fingerprint,
        task="reach",
        instruction="reach the ball",
        started_at=1.7e9,
        rate_hz=robot.rate_hz,
        frames=ticks,
        segments=segments((ticks, "autonomous")),
        outcome=Outcome(success=True, autonomous=True, source="script"),
        policies=(),
        rollout="",
        arm="",
        files={STEPS_FILE: FileEntry(size=1, sha256=sha256_bytes(name.encode()))},
    )
    return replace(made, **claims)


def segments(*lengths: tuple[int, SegmentKind]) -> tuple[Segment, ...]:
    """Segments one after another."""
    starts = np.cumsum([0, *(length for length, _ in lengths)])
    return tuple(
        Segment(start=int(start), end=int(start) + length, kind=kind)
        for start, (length, kind) in zip(starts, lengths, strict=False)
    )


def episode(name: str, one: Attempt, **claims: Any) -> Episode:
    """An attempt as a curation sees it."""
    robot, ticks = one.robot, len(one.state)
    manifest = manifest_of(name, ticks, robot, **claims)
    return Episode(
        manifest=manifest,
        features=extract(manifest, steps_of(one), [summary(one.scene)] * len(robot.cameras), robot),
    )


def seen_by(name: str, *views: Attempt) -> Episode:
    """An attempt as each of its robot's cameras saw it."""
    seen = [episode(name, one).features for one in views]
    pictures = np.stack([one.pictures[number] for number, one in enumerate(seen) if one is not None])
    made = episode(name, views[0])
    assert made.features is not None
    return replace(made, features=replace(made.features, pictures=pictures))


def steps_of(one: Attempt) -> Steps:
    """The attempt in the contract's units."""
    robot, ticks = one.robot, len(one.state)
    columns = []
    for values, channels in ((one.state, robot.state), (one.action, robot.action)):
        low, high = (np.array([getattr(channel, side) for channel in channels]) for side in ("low", "high"))
        columns.append((low + values * (high - low)).astype(np.float32))
    return Steps(
        frame_index=np.arange(ticks),
        timestamp=np.arange(ticks) / robot.rate_hz,
        state=columns[0],
        action=columns[1],
        segment=["autonomous"] * ticks,
        policy=[""] * ticks,
        request=[""] * ticks,
        executed=["expert"] * ticks,
    )


def summary(scene: NDArray[np.uint8]) -> VideoSummary:
    """A camera that saw nothing but these thumbnails."""
    nothing = np.zeros(len(scene), np.float32)
    return VideoSummary(
        name="camera.mp4",
        time=np.arange(len(scene)) / 20.0,
        key=nothing > 0,
        black=nothing,
        white=nothing,
        spread=nothing,
        change=nothing,
        thumbnail=scene,
        levels=np.ones((3, 256), np.int64),
    )
