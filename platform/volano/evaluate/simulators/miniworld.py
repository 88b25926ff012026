"""First-person navigation in MiniWorld: drive to the box of the named colour and touch no other.

Two robots live here, a differential drive and a holonomic base, with different action channels and rates. Motion is
continuous: a tick integrates the commanded velocities and stops at walls. Rendering is software OpenGL, off screen.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyglet

pyglet.options["headless"] = True  # before the import below: MiniWorld opens a display on import

from miniworld.entity import Box  # noqa: E402
from miniworld.miniworld import MiniWorldEnv  # noqa: E402

from volano.embodiment.contract import Embodiment  # noqa: E402
from volano.evaluate.simulator import FloatArray, ImageArray, Observation, Step  # noqa: E402

COLOURS = ("red", "green", "blue", "yellow")
_ROOM_M = 6.0
_REACH_M = 1.0
_BOX_M = 0.6
_SPACING_M = 1.7
_VIEW_RAD = math.radians(90)
_TIME_LIMIT_S = 24.0


class _Room(MiniWorldEnv):  # type: ignore[misc]
    """One square room with one box of each colour."""

    def _gen_world(self) -> None:
        half = _ROOM_M / 2
        self.add_rect_room(-half, half, -half, half, wall_tex="concrete", floor_tex="asphalt", no_ceiling=True)
        self.boxes: dict[str, Any] = {}
        places: list[tuple[float, float]] = []
        for colour in COLOURS:
            x, z = self._free_place(places)
            places.append((x, z))
            box = Box(color=colour, size=_BOX_M)
            self.boxes[colour] = self.place_entity(box, pos=np.array([x, 0.0, z]), dir=0.0)
        x, z = self._free_place(places)
        self.place_entity(self.agent, pos=np.array([x, 0.0, z]), dir=self.np_random.uniform(-math.pi, math.pi))
        self.agent.cam_fov_y = math.degrees(_VIEW_RAD)
        self.agent.radius = 0.2

    def _free_place(self, places: list[tuple[float, float]]) -> tuple[float, float]:
        limit = _ROOM_M / 2 - 0.6
        while True:
            x, z = self.np_random.uniform(-limit, limit, 2)
            if all(math.hypot(x - a, z - b) >= _SPACING_M for a, b in places):
                return float(x), float(z)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where something is, seen from the robot: metres ahead, and radians to the left."""

    distance_m: float
    bearing_rad: float


def steer(target: Target, others: tuple[Target, ...]) -> tuple[float, float, float]:
    """The expert's wish: (speed in m/s, direction of travel in rad to the left, yaw rate in rad/s).

    Turns left until the target is in view, then drives at it, giving way to boxes that stand in the way.
    """
    if abs(target.bearing_rad) > _VIEW_RAD / 2 - 0.1:
        return 0.0, 0.0, 1.5
    direction = target.bearing_rad
    for other in others:
        gap = other.bearing_rad - direction
        near = other.distance_m < min(1.4, target.distance_m)
        if near and abs(gap) < 0.7:
            direction -= math.copysign(0.7 - abs(gap), gap)
    return max(0.2, math.cos(direction)), direction, float(np.clip(2.5 * direction, -1.5, 1.5))


class MiniWorldSimulator:
    """A mobile base in the room; `holonomic` bases take (speed_x, speed_y, yaw_rate), others (speed, yaw_rate)."""

    tasks: tuple[str, ...] = COLOURS
    _room: ClassVar[_Room | None] = None

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        self._holonomic = len(embodiment.action) == 3
        camera = embodiment.cameras[0]
        if MiniWorldSimulator._room is None:  # one OpenGL window per process, for life
            MiniWorldSimulator._room = _Room(obs_width=camera.width, obs_height=camera.height)
        self._world = MiniWorldSimulator._room
        self._random = np.random.default_rng(0)
        self._speed = np.zeros(len(embodiment.action), np.float32)
        self._ticks = 0
        self._goal = ""

    def reset(self, task: str, seed: int) -> Observation:
        if task not in COLOURS:
            raise KeyError(task)
        self._world.reset(seed=seed)
        self._random = np.random.default_rng(seed)
        self._speed = np.zeros(len(self.embodiment.action), np.float32)
        self._ticks = 0
        self._goal = task
        self.instruction = f"go to the {task} box"
        return self._observe()

    def act(self, chunk: FloatArray, index: int) -> Step:
        return self._tick(chunk[index], chunk[index])

    def assist(self, noise: float) -> Step:
        others = tuple(self._target(colour) for colour in COLOURS if colour != self._goal)
        speed, direction, yaw = steer(self._target(self._goal), others)
        wish = (
            [speed * math.cos(direction), speed * math.sin(direction), yaw]
            if self._holonomic
            else [speed if abs(direction) < 0.6 else 0.2 * speed, yaw]
        )
        action = np.array(wish, np.float32)
        disturbed = action + noise * self._random.normal(0, 1, len(action)).astype(np.float32)
        return self._tick(action, disturbed)

    def close(self) -> None:
        """The window stays: freeing one OpenGL context disturbs the others."""

    def _tick(self, recorded: FloatArray, executed: FloatArray) -> Step:
        low = [channel.low for channel in self.embodiment.action]
        high = [channel.high for channel in self.embodiment.action]
        self._speed = np.clip(executed, low, high).astype(np.float32)
        seconds = 1.0 / self.embodiment.rate_hz
        forward, left, yaw = (
            (*self._speed[:2], self._speed[2]) if self._holonomic else (self._speed[0], 0.0, self._speed[1])
        )
        agent = self._world.agent
        before = agent.pos.copy()
        agent.pos = before + seconds * (agent.dir_vec * float(forward) - agent.right_vec * float(left))
        limit = _ROOM_M / 2 - agent.radius
        agent.pos = np.array([np.clip(agent.pos[0], -limit, limit), 0.0, np.clip(agent.pos[2], -limit, limit)])
        agent.dir += float(yaw) * seconds
        self._ticks += 1
        reached = self._target(self._goal).distance_m < _REACH_M
        touched = any(self._target(colour).distance_m < 0.7 for colour in COLOURS if colour != self._goal)
        late = self._ticks >= _TIME_LIMIT_S * self.embodiment.rate_hz
        return Step(
            observation=self._observe(),
            action=np.clip(recorded, low, high).astype(np.float32),
            success=bool(reached),
            done=bool(reached or touched or late),
        )

    def _target(self, colour: str) -> Target:
        agent = self._world.agent
        offset = self._world.boxes[colour].pos - agent.pos
        ahead, left = float(offset @ agent.dir_vec), -float(offset @ agent.right_vec)
        return Target(distance_m=math.hypot(ahead, left), bearing_rad=math.atan2(left, ahead))

    def _observe(self) -> Observation:
        image: ImageArray = np.ascontiguousarray(self._world.render_obs())
        return Observation(images={self.embodiment.cameras[0].name: image}, state=self._speed.copy())
