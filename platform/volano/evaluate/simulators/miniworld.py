"""First-person navigation in MiniWorld: drive to the box of the named colour and touch no other.

Two robots live here, a differential drive and a holonomic base, with different action channels and rates. Motion is
continuous: a tick integrates the commanded velocities and slides along walls. Rendering is software OpenGL, off
screen. What the expert does follows from what the camera shows: nothing is known about a box that is out of view.
"""

import contextlib
import io
import math
from typing import Any, ClassVar

import numpy as np
import pyglet

pyglet.options["headless"] = True  # before the import below: MiniWorld opens a display on import

from miniworld.entity import Box  # noqa: E402
from miniworld.miniworld import MiniWorldEnv  # noqa: E402
from miniworld.params import DEFAULT_PARAMS  # noqa: E402

from volano.embodiment.contract import Embodiment  # noqa: E402
from volano.embodiment.frames import relative  # noqa: E402
from volano.evaluate.simulator import FloatArray, Observation, Step  # noqa: E402
from volano.evaluate.simulators.lens import Lens  # noqa: E402
from volano.evaluate.simulators.pool import Pool  # noqa: E402
from volano.evaluate.simulators.seek import REACH_M, VIEW_DEG, Target, steer  # noqa: E402

COLOURS = ("red", "blue")
TOUCH_M = 0.6
"""Between the centres of robot and another box: failed."""
_ROOM_M = 6.0
_BOX_M = 0.6
_SPACING_M = 1.7
_ROBOT_RADIUS_M = 0.2
_CAMERA_HEIGHT_M = 1.2
_CAMERA_PITCH_DEG = -25.0
"""Looks down far enough that a box stays in the picture until it is reached."""
_TIME_LIMIT_S = 24.0


class _Room(MiniWorldEnv):  # type: ignore[misc]
    """One square room with one box of each colour."""

    def __init__(self, height: int, width: int) -> None:
        params = DEFAULT_PARAMS.copy()  # not on the agent: the library's reset overwrites that from here
        for name, value in (
            ("cam_fov_y", VIEW_DEG),
            ("cam_height", _CAMERA_HEIGHT_M),
            ("cam_pitch", _CAMERA_PITCH_DEG),
        ):
            params.set(name, value, value, value)
        self.boxes: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints what anti-aliasing it found
            super().__init__(obs_width=width, obs_height=height, params=params)

    def _gen_world(self) -> None:
        half = _ROOM_M / 2
        self.add_rect_room(-half, half, -half, half, wall_tex="concrete", floor_tex="asphalt", no_ceiling=True)
        places: list[tuple[float, float]] = []
        for colour in COLOURS:
            x, z = self._free_place(places)
            places.append((x, z))
            box = Box(color=colour, size=_BOX_M)
            self.boxes[colour] = self.place_entity(box, pos=np.array([x, 0.0, z]), dir=0.0)
        x, z = self._free_place(places)
        self.place_entity(self.agent, pos=np.array([x, 0.0, z]), dir=self.np_random.uniform(-math.pi, math.pi))

    def _free_place(self, places: list[tuple[float, float]]) -> tuple[float, float]:
        limit = _ROOM_M / 2 - 0.6
        while True:
            x, z = self.np_random.uniform(-limit, limit, 2)
            if all(math.hypot(x - a, z - b) >= _SPACING_M for a, b in places):
                return float(x), float(z)


class MiniWorldSimulator:
    """A mobile base in the room; `holonomic` bases take (speed_x, speed_y, yaw_rate), others (speed, yaw_rate)."""

    tasks: tuple[str, ...] = COLOURS
    _rooms: ClassVar[Pool[_Room]] = Pool()

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        self._holonomic = len(embodiment.action) == 3
        camera = embodiment.cameras[0]
        self._key = (camera.height, camera.width)
        self._world = self._rooms.borrow(self._key, lambda: _Room(camera.height, camera.width))
        self._lens = Lens()
        self._low = np.array([channel.low for channel in embodiment.action], np.float32)
        self._high = np.array([channel.high for channel in embodiment.action], np.float32)

    def reset(self, task: str, seed: int) -> None:
        if task not in COLOURS:
            raise KeyError(task)
        self._world.reset(seed=seed)
        self._random = np.random.default_rng(seed)
        self._speed = np.zeros(len(self.embodiment.action), np.float32)
        self._ticks = 0
        self._goal = task
        self.instruction = f"go to the {task} box"

    def observe(self) -> Observation:
        image = self._lens.delivered(self._world.render_obs())
        return Observation(images={self.embodiment.cameras[0].name: image}, state=self._speed.copy())

    def act(self, chunk: FloatArray, index: int) -> Step:
        return self._tick(chunk[index], chunk[index])

    def assist(self, noise: float) -> Step:
        others = tuple(self._target(colour) for colour in COLOURS if colour != self._goal)
        wish = steer(self._target(self._goal), others)
        forward = wish.speed_m_s * math.cos(wish.direction_rad)
        if self._holonomic:
            yaw = float(np.clip(2.5 * wish.look_rad, -1.5, 1.5))
            action = np.array([forward, wish.speed_m_s * math.sin(wish.direction_rad), yaw], np.float32)
        else:
            turn = wish.direction_rad if wish.speed_m_s else wish.look_rad
            yaw = float(np.clip(2.5 * turn, -1.5, 1.5))
            action = np.array([forward if abs(wish.direction_rad) < 0.6 else 0.2 * forward, yaw], np.float32)
        disturbed = action + noise * self._random.normal(0, 1, len(action)).astype(np.float32)
        return self._tick(action, disturbed)

    def close(self) -> None:
        self._rooms.give_back(self._key, self._world)

    def _tick(self, recorded: FloatArray, executed: FloatArray) -> Step:
        seconds = 1.0 / self.embodiment.rate_hz
        command = np.clip(executed, self._low, self._high)
        forward, left = (command[0], command[1]) if self._holonomic else (command[0], 0.0)
        agent = self._world.agent
        before = self._pose()
        wanted = agent.pos + seconds * (agent.dir_vec * float(forward) - agent.right_vec * float(left))
        limit = _ROOM_M / 2 - _ROBOT_RADIUS_M
        agent.pos = np.array([np.clip(wanted[0], -limit, limit), 0.0, np.clip(wanted[2], -limit, limit)])
        agent.dir += float(command[-1]) * seconds
        moved = relative(before, self._pose()) / seconds
        self._speed = (moved if self._holonomic else moved[[0, 2]]).astype(np.float32)
        self._ticks += 1
        reached = self._target(self._goal).distance_m < REACH_M
        touched = any(self._target(colour).distance_m < TOUCH_M for colour in COLOURS if colour != self._goal)
        late = self._ticks >= _TIME_LIMIT_S * self.embodiment.rate_hz
        return Step(
            action=np.clip(recorded, self._low, self._high).astype(np.float32),
            success=bool(reached),
            done=bool(reached or touched or late),
        )

    def _pose(self) -> FloatArray:
        """(x, y, heading) with y to the left of x, heading anti-clockwise: MiniWorld's z axis points the other way."""
        agent = self._world.agent
        return np.array([agent.pos[0], -agent.pos[2], agent.dir])

    def _target(self, colour: str) -> Target:
        agent = self._world.agent
        offset = self._world.boxes[colour].pos - agent.pos
        ahead, left = float(offset @ agent.dir_vec), -float(offset @ agent.right_vec)
        return Target(distance_m=math.hypot(ahead, left), bearing_rad=math.atan2(left, ahead))
