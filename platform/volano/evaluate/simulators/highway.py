"""Trajectory prediction in highway-env: cross an intersection in traffic and leave by the named exit.

The policy predicts future poses in the ego frame; a pure-pursuit driver follows them. The expert is the library's
own driver model (IDM with lane keeping and right of way), and what is recorded is the motion that happened, its
noise included. The view is from above, ego-centred and heading up; only the instruction names the exit. The
library's planar frame has y to the south and clockwise headings; everything outside this module has y to the left.
"""

import math
from typing import Any

import numpy as np
import pygame
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import place, relative
from volano.evaluate.simulator import FloatArray, ImageArray, Observation, Step
from volano.evaluate.simulators.pursuit import Command, Motion, pursue

EXITS = {"left": "o1", "straight": "o2", "right": "o3"}
INSTRUCTIONS = {
    "left": "turn left at the intersection",
    "straight": "go straight over the intersection",
    "right": "turn right at the intersection",
}
_PHYSICS_HZ = 15
_TIME_LIMIT_S = 14.0
_CRUISE_M_S = 9.0
_SPAWN_PROBABILITY = 0.1
_VIEW_M = 56.0
_GREEN, _RED = (60, 230, 60), (255, 70, 50)
_EGO_HEIGHT = 0.7
"""The ego stands at 70 % of the view's height: most of what is seen lies ahead."""


class _Ego(IDMVehicle):  # type: ignore[misc]
    """The controlled car: an expert unless there is a `command`."""

    command: Command | None = None
    disturbance_rad: float = 0.0

    def act(self, action: Any = None) -> None:
        if self.crashed:
            return
        if self.command is None:
            super().act(action)
            self.action["steering"] += self.disturbance_rad
            return
        self.follow_road()  # so that the expert may take over anywhere
        steering = -self.command.steering_rad  # clockwise in the library
        Vehicle.act(self, {"steering": steering, "acceleration": self.command.acceleration_m_s2})


class HighwaySimulator:
    """The car."""

    tasks: tuple[str, ...] = tuple(EXITS)

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        camera = embodiment.cameras[0]
        canvas = 2 * camera.width  # room to turn the picture
        self._world = IntersectionEnv(
            config={
                "screen_width": canvas,
                "screen_height": canvas,
                "scaling": camera.width / _VIEW_M,
                "centering_position": [0.5, 0.5],
                "initial_vehicle_count": 3,
                "spawn_probability": _SPAWN_PROBABILITY,
                "simulation_frequency": _PHYSICS_HZ,
                "offscreen_rendering": True,
            },
            render_mode="rgb_array",
        )

    def reset(self, task: str, seed: int) -> Observation:
        self._exit = EXITS[task]
        self.instruction = INSTRUCTIONS[task]
        self._world.config["destination"] = self._exit
        self._world.reset(seed=seed)
        self._random = np.random.default_rng(seed)
        plain = self._world.vehicle
        self._ego = _Ego(self._world.road, plain.position, heading=plain.heading, speed=plain.speed)
        self._ego.plan_route_to(self._exit)
        self._ego.target_speed = _CRUISE_M_S
        self._world.road.vehicles[self._world.road.vehicles.index(plain)] = self._ego
        self._world.controlled_vehicles = [self._ego]
        self._anchor = self._pose()
        self._yaw_rate = 0.0
        self._ticks = 0
        return self._observe()

    def act(self, chunk: FloatArray, index: int) -> Step:
        if index == 0:
            self._anchor = self._pose()
        x, y, theta = self._pose()
        self._ego.command = pursue(
            Motion(x_m=x, y_m=y, heading_rad=theta, speed_m_s=float(self._ego.speed)),
            place(self._anchor, chunk[index:]),
            rate_hz=self.embodiment.rate_hz,
            length_m=self._ego.LENGTH,
        )
        return self._tick()

    def assist(self, noise: float) -> Step:
        self._ego.command = None
        self._ego.disturbance_rad = noise * float(self._random.normal())
        return self._tick()

    def close(self) -> None:
        """Nothing outside this object is held; closing the library's viewer would end the others' too."""

    def _tick(self) -> Step:
        before = self._pose()
        for _ in range(round(_PHYSICS_HZ / self.embodiment.rate_hz)):
            self._world.road.act()
            self._world.road.step(1 / _PHYSICS_HZ)
        self._world._clear_vehicles()
        self._world._spawn_vehicle(spawn_probability=_SPAWN_PROBABILITY)
        self._ticks += 1
        delta = relative(before, self._pose())
        self._yaw_rate = float(delta[2] * self.embodiment.rate_hz)
        left = bool(self._world.has_arrived(self._ego))
        success = left and self._ego.lane_index[1] == self._exit and not self._ego.crashed
        late = self._ticks >= _TIME_LIMIT_S * self.embodiment.rate_hz
        return Step(
            observation=self._observe(),
            action=delta.astype(np.float32),
            success=success,
            done=bool(left or self._ego.crashed or not self._ego.on_road or late),
        )

    def _pose(self) -> NDArray[np.float64]:
        x, y = self._ego.position
        return np.array([x, -y, -self._ego.heading], np.float64)

    def _observe(self) -> Observation:
        camera = self.embodiment.cameras[0]
        self._world.render()
        surface = self._world.viewer.sim_surface
        for vehicle in self._world.road.vehicles:  # the library's outlines swallow a car of six pixels
            corners = [surface.vec2pix(corner) for corner in vehicle.polygon()[:4]]
            pygame.draw.polygon(surface, _GREEN if vehicle is self._ego else _RED, corners)
        turned = pygame.transform.rotate(surface, 90 + math.degrees(self._ego.heading))
        left = turned.get_width() // 2 - camera.width // 2
        top = turned.get_height() // 2 - int(camera.height * _EGO_HEIGHT)
        view = turned.subsurface((left, top, camera.width, camera.height))
        image: ImageArray = np.ascontiguousarray(pygame.surfarray.array3d(view).swapaxes(0, 1))
        state = np.array([self._ego.speed, self._yaw_rate], np.float32)
        return Observation(images={camera.name: image}, state=state)
