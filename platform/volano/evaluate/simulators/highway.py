"""Trajectory prediction in highway-env: cross an intersection in traffic and leave by the named exit.

The policy predicts future poses in the ego frame; a pure-pursuit driver follows them. The expert is the library's
own driver model (IDM with lane keeping and right of way), and what is recorded is the motion that happened between
the pushes that disturb it. The view is from above, ego-centred and heading up; only the instruction names the exit. The
library's planar frame has y to the south and clockwise headings; everything outside this module has y to the left.
"""

from typing import Any

import numpy as np
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import place, relative, wrap
from volano.evaluate.simulator import FloatArray, Observation, Step
from volano.evaluate.simulators.lens import Lens
from volano.evaluate.simulators.pursuit import Command, Motion, pursue
from volano.evaluate.simulators.view import RoadView

EXITS = {"left": "o1", "straight": "o2", "right": "o3"}
INSTRUCTIONS = {
    "left": "turn left at the intersection",
    "straight": "go straight over the intersection",
    "right": "turn right at the intersection",
}
_PHYSICS_HZ = 15
_TIME_LIMIT_S = 14.0
_PUSHES, _PUSH_M, _PUSH_RAD = 0.4, 1.0, 0.3
"""At noise 1: pushes per tick, and how far they displace and turn the car (standard deviations)."""
_CRUISE_M_S = 9.0
_SPAWN_PROBABILITY = 0.1


class _Ego(IDMVehicle):  # type: ignore[misc]
    """The controlled car: an expert unless there is a `command`."""

    command: Command | None = None

    def act(self, action: Any = None) -> None:
        if self.crashed:
            return
        if self.command is None:
            super().act(action)
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
        self._camera = camera.name
        self._lens = Lens()
        self._world = IntersectionEnv(
            config={
                "initial_vehicle_count": 3,
                "spawn_probability": _SPAWN_PROBABILITY,
                "simulation_frequency": _PHYSICS_HZ,
            }
        )
        self._world.reset(seed=0)
        self._view = RoadView(self._world.road.network.lanes_list(), camera.height, camera.width)

    def reset(self, task: str, seed: int) -> None:
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

    def observe(self) -> Observation:
        others = [vehicle for vehicle in self._world.road.vehicles if vehicle is not self._ego]
        state = np.array([self._ego.speed, self._yaw_rate, *self._lane()], np.float32)
        return Observation(images={self._camera: self._lens.delivered(self._view.draw(self._ego, others))}, state=state)

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
        return self._tick(noise)

    def close(self) -> None:
        """Nothing outside this object is held; closing the library's viewer would end the others' too."""

    def _push(self, noise: float) -> None:
        """Displace the car after a tick's motion and before its observation: what is recorded is how it comes back."""
        aside, turn = self._random.normal(0.0, noise, 2) * (_PUSH_M, _PUSH_RAD)
        heading = self._ego.heading
        self._ego.position = self._ego.position + aside * np.array([-np.sin(heading), np.cos(heading)])
        self._ego.heading = heading + turn

    def _tick(self, noise: float = 0.0) -> Step:
        before = self._pose()
        for _ in range(round(_PHYSICS_HZ / self.embodiment.rate_hz)):
            self._world.road.act()
            self._world.road.step(1 / _PHYSICS_HZ)
        self._world._clear_vehicles()
        self._world._spawn_vehicle(spawn_probability=_SPAWN_PROBABILITY)
        self._ticks += 1
        delta = relative(before, self._pose())
        self._yaw_rate = float(delta[2] * self.embodiment.rate_hz)
        if self._random.random() < noise * _PUSHES:
            self._push(noise)
        left = bool(self._world.has_arrived(self._ego))
        success = left and self._ego.lane_index[1] == self._exit and not self._ego.crashed
        late = self._ticks >= _TIME_LIMIT_S * self.embodiment.rate_hz
        return Step(
            action=delta.astype(np.float32),
            success=success,
            done=bool(left or self._ego.crashed or not self._ego.on_road or late),
        )

    def _pose(self) -> NDArray[np.float64]:
        x, y = self._ego.position
        return np.array([x, -y, -self._ego.heading], np.float64)

    def _lane(self) -> tuple[float, float]:
        """What a lane camera measures: how far left of the nearest lane's centre the car is (m), and how far its
        heading is turned left against it (rad). Nearest is a matter of place and heading, not of the exit."""
        network = self._world.road.network
        lane = network.get_lane(network.get_closest_lane_index(self._ego.position, self._ego.heading))
        along, right = lane.local_coordinates(self._ego.position)
        return -float(right), -float(wrap(self._ego.heading - lane.heading_at(along)))
