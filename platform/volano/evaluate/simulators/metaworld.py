"""Tabletop manipulation in Meta-World: a Sawyer, four tasks, the library's scripted policies as the human.

One control tick is four physics steps (80 Hz) with the action held. The scene is drawn without shadows, reflections
and multi-sampling: fifteen times cheaper on a CPU, and the same in training and evaluation. The state is what a real
arm reports of itself; objects are known from the picture alone.
"""

import atexit
from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from volano.embodiment.contract import Embodiment
from volano.evaluate.simulator import FloatArray, Observation, Step
from volano.evaluate.simulators.lens import Lens
from volano.evaluate.simulators.pool import Pool

INSTRUCTIONS = {
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "window-open-v3": "open the window",
    "door-open-v3": "open the door",
}
_PHYSICS_PER_TICK = 4
_TIME_LIMIT_TICKS = 100
_HIDDEN = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE")


def _camera() -> mujoco.MjvCamera:
    """From the front and the right of the table, near enough that hand and object fill the picture."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.azimuth, camera.elevation, camera.distance = 140.0, -35.0, 1.5
    camera.lookat[:] = (0.0, 0.68, 0.15)
    return camera


@dataclass(frozen=True)
class _World:
    """One task's physics and the renderer of its model, which lives as long as the process."""

    environment: Any
    renderer: Any


def _open(task: str, height: int, width: int) -> _World:
    environment: Any = ALL_V3_ENVIRONMENTS[task]()
    environment._set_task_called = True  # the library's own way runs fifty resets to draw start states: `reset` does
    environment._partially_observable = False  # its experts see the goal ...
    del environment.sawyer_observation_space  # ... whose limits were computed without it
    model = environment.unwrapped.model
    model.vis.quality.offsamples = model.vis.quality.shadowsize = 0  # before the renderer exists
    renderer = mujoco.Renderer(model, height, width)
    for flag in _HIDDEN:
        renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
    atexit.register(renderer.close)  # before the library ends EGL, at exit
    return _World(environment, renderer)


class MetaWorldSimulator:
    """The arm."""

    tasks: tuple[str, ...] = tuple(INSTRUCTIONS)
    _worlds: ClassVar[Pool[_World]] = Pool()

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        self._camera = _camera()
        self._lens = Lens()
        self._mine: dict[str, _World] = {}

    def reset(self, task: str, seed: int) -> None:
        self.instruction = INSTRUCTIONS[task]
        if task not in self._mine:
            view = self.embodiment.cameras[0]
            self._mine[task] = self._worlds.borrow(
                (task, view.height, view.width), lambda: _open(task, view.height, view.width)
            )
        self._world = self._mine[task]
        self._random = np.random.default_rng(seed)
        inner = self._world.environment.unwrapped
        inner._last_rand_vec = self._random.uniform(inner._random_reset_space.low, inner._random_reset_space.high)
        self._state, _ = self._world.environment.reset()
        experts: Any = ENV_POLICY_MAP
        self._expert = experts[task]()
        self._ticks = 0

    def observe(self) -> Observation:
        self._world.renderer.update_scene(self._world.environment.unwrapped.data, camera=self._camera)
        image = self._lens.delivered(self._world.renderer.render())
        return Observation(
            images={self.embodiment.cameras[0].name: image}, state=np.asarray(self._state[:4], np.float32)
        )

    def act(self, chunk: FloatArray, index: int) -> Step:
        return self._tick(chunk[index], chunk[index])

    def assist(self, noise: float) -> Step:
        wish = np.clip(self._expert.get_action(self._state), -1, 1).astype(np.float32)
        return self._tick(wish, wish + noise * self._random.normal(0, 1, 4).astype(np.float32))

    def close(self) -> None:
        view = self.embodiment.cameras[0]
        while self._mine:
            task, world = self._mine.popitem()
            self._worlds.give_back((task, view.height, view.width), world)

    def _tick(self, recorded: FloatArray, executed: FloatArray) -> Step:
        success = False
        for _ in range(_PHYSICS_PER_TICK):
            self._state, _, _, _, info = self._world.environment.step(np.clip(executed, -1, 1))
            self._world.environment.unwrapped.curr_path_length = 0  # the library's limit counts physics steps
            success = success or bool(info["success"])
        self._ticks += 1
        return Step(
            action=np.clip(recorded, -1, 1).astype(np.float32),
            success=success,
            done=success or self._ticks >= _TIME_LIMIT_TICKS,
        )
