"""How robots move in the tests: states, actions and pictures of whole episodes that a sound robot may record.

`noise` is no robot's motion, but exercises every format; the others are what gates mistake for defects.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Camera, Embodiment

Motion = Literal["noise", "driven", "slow", "resting", "even", "saturating", "blocked", "dark", "bright", "paused"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
Random = np.random.Generator
_PIXELS_PER_EPISODE = 60.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """What an embodiment with T ticks did."""

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    timestamp: NDArray[np.float64]


def course(motion: Motion, robot: Embodiment, frames: int, random: Random) -> Course:
    """A course of that motion."""
    timestamp = np.arange(frames) / robot.rate_hz + random.uniform(0, 0.05, frames) / robot.rate_hz
    if motion == "noise":
        state = random.uniform(-1, 1, (frames, len(robot.state)))
        action = random.uniform(-1, 1, (frames, len(robot.action)))
        return Course(state=state.astype(np.float32), action=action.astype(np.float32), timestamp=timestamp)
    if motion == "paused":  # half a second, once
        timestamp[frames // 3 :] += 0.5
    size = {"slow": 0.02, "saturating": 3.0}.get(motion, 0.6)
    low, high = (np.array([getattr(one, side) for one in robot.action]) for side in ("low", "high"))
    action = np.clip((low + high) / 2 + size * waves(frames, len(low), random) * (high - low) / 2, low, high)
    action[: frames // 3] = high if motion == "saturating" else action[: frames // 3]
    state = _measured(robot, action, size=min(size, 0.6), random=random)
    if motion == "resting":
        action[:] = robot.hold
        state[:] = state[0]
    elif motion == "even":
        action[:], state[:] = action[0], state[0]
    elif motion == "blocked":  # against a wall: commanded on, and not moving
        half = frames // 2
        action[half:], state[half:] = action[half], state[half]
    return Course(state=state.astype(np.float32), action=action.astype(np.float32), timestamp=timestamp)


def waves(frames: int, channels: int, random: Random) -> NDArray[np.float64]:
    """Smooth motion within [-1, 1], a swing in 25 to 40 ticks, each channel its own, (T, channels)."""
    period, phase = random.uniform(25, 40, channels), random.uniform(0, 2 * np.pi, channels)
    return np.asarray(np.sin(2 * np.pi * np.arange(frames)[:, None] / period + phase))


def pictures(motion: Motion, camera: Camera, state: NDArray[np.float32], random: Random) -> list[NDArray[np.uint8]]:
    """What the camera saw: a textured world that passes by as the state does, with a sensor's noise."""
    frames, (height, width) = len(state), (camera.height, camera.width)
    world = np.kron(random.uniform(40, 200, (height // 8 + 1, width // 8 + 40)), np.ones((8, 8)))
    passed = np.linspace(0, _PIXELS_PER_EPISODE, frames) if motion != "resting" else np.zeros(frames)
    scale, lift = {"dark": (0.2, 20.0), "bright": (0.4, 150.0)}.get(motion, (1.0, 0.0))
    seen = []
    for x in passed.astype(int):
        grey = world[:height, x : x + width] * scale + lift + random.normal(0, 1.5, (height, width))
        seen.append(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    return seen if motion != "resting" else seen[:1] * frames


def _measured(robot: Embodiment, action: NDArray[np.float64], *, size: float, random: Random) -> NDArray[np.float64]:
    """A state follows the action of its name, half the way per tick; others swing by themselves. Sensors flicker."""
    low, high = (np.array([getattr(one, side) for one in robot.state]) for side in ("low", "high"))
    swing = (low + high) / 2 + 0.5 * size * waves(len(action), len(low), random) * (high - low) / 2
    commanded = {channel.name: column for channel, column in zip(robot.action, action.T, strict=True)}
    for number, channel in enumerate(robot.state):
        if channel.name in commanded:
            reached = commanded[channel.name][0]
            for tick, wanted in enumerate(commanded[channel.name]):
                swing[tick, number] = reached
                reached += (wanted - reached) / 2
    return np.asarray(np.clip(swing + random.normal(0, 1e-4, swing.shape) * (high - low), low, high))
