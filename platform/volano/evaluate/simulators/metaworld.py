"""Tabletop manipulation in Meta-World: a Sawyer, four tasks, the library's scripted policies as the human.

One control tick is four physics steps (80 Hz) with the action held. The scene is drawn without shadows, reflections
and multi-sampling: fifteen times cheaper on a CPU, and the same in training and evaluation.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
os.environ.setdefault("LP_NUM_THREADS", "1")  # one software-renderer thread per worker

from typing import Any, ClassVar

import metaworld
import mujoco
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

from volano.embodiment.contract import Embodiment
from volano.evaluate.simulator import FloatArray, ImageArray, Observation, Step

INSTRUCTIONS = {
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "window-open-v3": "open the window",
    "door-open-v3": "open the door",
}
_PHYSICS_PER_TICK = 4
_TIME_LIMIT_TICKS = 100
_CAMERA = "corner2"
_HIDDEN = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE")


class MetaWorldSimulator:
    """The arm. Worlds are built once per process and task, and every one keeps its renderer for life: freeing a
    renderer while another lives turns the other's frames into noise."""

    tasks: tuple[str, ...] = tuple(INSTRUCTIONS)
    _worlds: ClassVar[dict[tuple[str, int, int], tuple[Any, Any]]] = {}

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.instruction = ""
        self._task = ""
        self._random = np.random.default_rng(0)
        self._ticks = 0
        self._state: Any = None

    def reset(self, task: str, seed: int) -> Observation:
        self.instruction = INSTRUCTIONS[task]
        self._task = task
        self._world, self._renderer = self._open(task)
        self._random = np.random.default_rng(seed)
        inner = self._world.unwrapped
        inner._last_rand_vec = self._random.uniform(inner._random_reset_space.low, inner._random_reset_space.high)
        self._state, _ = self._world.reset()
        experts: Any = ENV_POLICY_MAP
        self._expert = experts[task]()
        self._ticks = 0
        return self._observe()

    def act(self, chunk: FloatArray, index: int) -> Step:
        return self._tick(chunk[index], chunk[index])

    def assist(self, noise: float) -> Step:
        wish = np.clip(self._expert.get_action(self._state), -1, 1).astype(np.float32)
        return self._tick(wish, wish + noise * self._random.normal(0, 1, 4).astype(np.float32))

    def close(self) -> None:
        """Renderers stay: freeing one OpenGL context disturbs the others."""

    def _open(self, task: str) -> tuple[Any, Any]:
        camera = self.embodiment.cameras[0]
        key = (task, camera.height, camera.width)
        if key not in self._worlds:
            library: Any = metaworld  # its annotations do not cover what its environments offer
            benchmark = library.MT1(task, seed=0)
            world: Any = benchmark.train_classes[task]()
            world.set_task(benchmark.train_tasks[0])  # start states are frozen: `reset` chooses them
            model = world.unwrapped.model
            model.vis.quality.offsamples = model.vis.quality.shadowsize = 0  # before the renderer exists
            renderer = mujoco.Renderer(model, camera.height, camera.width)
            for flag in _HIDDEN:
                renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
            self._worlds[key] = (world, renderer)
        return self._worlds[key]

    def _tick(self, recorded: FloatArray, executed: FloatArray) -> Step:
        success = False
        for _ in range(_PHYSICS_PER_TICK):
            self._state, _, _, _, info = self._world.step(np.clip(executed, -1, 1))
            self._world.unwrapped.curr_path_length = 0  # the library's own limit counts physics steps
            success = success or bool(info["success"])
        self._ticks += 1
        return Step(
            observation=self._observe(),
            action=np.clip(recorded, -1, 1).astype(np.float32),
            success=success,
            done=success or self._ticks >= _TIME_LIMIT_TICKS,
        )

    def _observe(self) -> Observation:
        self._renderer.update_scene(self._world.unwrapped.data, camera=_CAMERA)
        upright: ImageArray = np.ascontiguousarray(self._renderer.render()[::-1, ::-1])  # the camera hangs upside down
        return Observation(
            images={self.embodiment.cameras[0].name: upright}, state=np.asarray(self._state[:4], np.float32)
        )
