"""Trajectory prediction in highway-env: cross an intersection in traffic and leave by the named exit.

The policy predicts eight future poses in the ego frame; a pure-pursuit driver follows them. The expert is the
library's own driver model (IDM with lane keeping and right of way). The view is from above, ego-centred and
heading up. Planar convention of the world: x to the east, y to the south, headings clockwise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygame
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import relative, wrap
from volano.evaluate.simulator import FloatArray, ImageArray, Observation, Step

EXITS = {"left": "o1", "straight": "o2", "right": "o3"}
INSTRUCTIONS = {
    "left": "turn left at the intersection",
    "straight": "go straight over the intersection",
    "right": "turn right at the intersection",
}
_PHYSICS_HZ = 15
_TIME_LIMIT_S = 14.0
_VIEW_M = 56.0
_GREEN, _RED = (60, 230, 60), (255, 70, 50)
_EGO_HEIGHT = 0.7
"""The ego stands at 70 % of the view's height: most of what is seen lies ahead."""


class _Ego(IDMVehicle):  # type: ignore[misc]
    """The controlled car: an expert unless `command` holds a steering angle and an acceleration."""

    command: dict[str, float] | None = None
    disturbance: float = 0.0

    def act(self, action: Any = None) -> None:
        if self.crashed:
            return
        if self.command is not None:
            Vehicle.act(self, dict(self.command))
            return
        super().act(action)
        self.action["steering"] += self.disturbance


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a car is: metres, radians, metres per second."""

    x: float
    y: float
    theta: float
    speed: float


def pursue(pose: Pose, waypoints: NDArray[np.float64], rate_hz: float, length_m: float) -> dict[str, float]:
    """Steering (rad) and acceleration (m/s^2) towards the world waypoints (n, 3) still ahead, one tick apart.

    The kinematic model turns with curvature sin(slip) / (length / 2), and tan(steering) = 2 tan(slip).
    """
    offsets = waypoints[:, :2] - (pose.x, pose.y)
    distances = np.hypot(offsets[:, 0], offsets[:, 1])
    wanted = (
        float(distances[0] * rate_hz)
        if len(waypoints) < 2
        else float(np.hypot(*(waypoints[1, :2] - waypoints[0, :2])) * rate_hz)
    )
    acceleration = float(np.clip((wanted - pose.speed) / 0.4, -6, 5))
    far = np.flatnonzero(distances >= max(3.0, 0.6 * pose.speed))
    aim = int(far[0]) if len(far) else len(waypoints) - 1
    if distances[aim] < 0.5:
        return {"steering": 0.0, "acceleration": acceleration}
    bearing = wrap(math.atan2(offsets[aim, 1], offsets[aim, 0]) - pose.theta)
    curvature = 2 * math.sin(bearing) / distances[aim]
    slip = math.asin(float(np.clip(curvature * length_m / 2, -0.9, 0.9)))
    steering = float(np.clip(math.atan(2 * math.tan(slip)), -math.pi / 3, math.pi / 3))
    return {"steering": steering, "acceleration": acceleration}


class HighwaySimulator:
    """The car."""

    tasks: tuple[str, ...] = tuple(EXITS)

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        camera = embodiment.cameras[0]
        self._scale = camera.width / _VIEW_M
        self._canvas = 2 * camera.width
        self._world = IntersectionEnv(
            config={
                "screen_width": self._canvas,
                "screen_height": self._canvas,
                "scaling": self._scale,
                "centering_position": [0.5, 0.5],
                "initial_vehicle_count": 3,
                "spawn_probability": 0.1,
                "simulation_frequency": _PHYSICS_HZ,
                "offscreen_rendering": True,
            },
            render_mode="rgb_array",
        )
        self._random = np.random.default_rng(0)
        self._anchor = np.zeros(3)
        self._ticks = 0
        self._exit = ""

    def reset(self, task: str, seed: int) -> Observation:
        self._exit = EXITS[task]
        self.instruction = INSTRUCTIONS[task]
        self._world.config["destination"] = self._exit
        self._world.reset(seed=seed)
        self._random = np.random.default_rng(seed)
        plain = self._world.vehicle
        self._ego = _Ego(self._world.road, plain.position, heading=plain.heading, speed=plain.speed)
        self._ego.plan_route_to(self._exit)
        self._ego.target_speed = 9.0
        self._world.road.vehicles[self._world.road.vehicles.index(plain)] = self._ego
        self._world.controlled_vehicles = [self._ego]
        self._ticks = 0
        self._yaw_rate = 0.0
        return self._observe()

    def act(self, chunk: FloatArray, index: int) -> Step:
        if index == 0:
            self._anchor = self._pose()
        cosine, sine = math.cos(self._anchor[2]), math.sin(self._anchor[2])
        ahead = np.asarray(chunk[index:], np.float64)
        world = np.stack(
            (
                self._anchor[0] + cosine * ahead[:, 0] - sine * ahead[:, 1],
                self._anchor[1] + sine * ahead[:, 0] + cosine * ahead[:, 1],
                self._anchor[2] + ahead[:, 2],
            ),
            axis=1,
        )
        x, y, theta = self._pose()
        pose = Pose(x=x, y=y, theta=theta, speed=self._ego.speed)
        self._ego.command = pursue(pose, world, self.embodiment.rate_hz, self._ego.LENGTH)
        return self._tick()

    def assist(self, noise: float) -> Step:
        self._ego.command = None
        self._ego.disturbance = noise * float(self._random.normal())
        return self._tick()

    def close(self) -> None:
        """Nothing outside this process is held."""

    def _tick(self) -> Step:
        before = self._pose()
        for _ in range(round(_PHYSICS_HZ / self.embodiment.rate_hz)):
            self._world.road.act()
            self._world.road.step(1 / _PHYSICS_HZ)
        self._world._clear_vehicles()
        self._world._spawn_vehicle(spawn_probability=0.1)
        self._ticks += 1
        delta = relative(before, self._pose())
        self._yaw_rate = float(delta[2] * self.embodiment.rate_hz)
        arrived = self._world.has_arrived(self._ego) and self._ego.lane_index[1] == self._exit
        left_road = not self._ego.on_road
        wrong_exit = self._world.has_arrived(self._ego) and not arrived
        late = self._ticks >= _TIME_LIMIT_S * self.embodiment.rate_hz
        success = bool(arrived and not self._ego.crashed)
        return Step(
            observation=self._observe(),
            action=delta.astype(np.float32),
            success=success,
            done=bool(success or self._ego.crashed or left_road or wrong_exit or late),
        )

    def _pose(self) -> NDArray[np.float64]:
        return np.array([*self._ego.position, self._ego.heading], np.float64)

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
