"""Two cameras exchanged, as a simulator's cameras see four tasks: found, and nothing else is."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.data.curation.attempts import Attempt, attempt, seen_by
from volano.data.curation.config import Curation
from volano.data.curation.decide import decide
from volano.evaluate.simulators.build import build

pytestmark = pytest.mark.slow
_TASKS = ("drawer-close-v3", "button-press-topdown-v3", "window-open-v3", "door-open-v3")
_CAMERAS = ("corner", "topview", "gripperPOV", "behindGripper")
_EXCHANGED = 4


def filmed(task: str, seed: int) -> dict[str, NDArray[np.uint8]]:
    """Thumbnails (T, 8, 8) of each camera, of an expert that begins somewhere else each time."""
    build("sawyer").close()  # before its libraries are imported: they draw without a display then
    import mujoco
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.policies import ENV_POLICY_MAP

    random, made = np.random.default_rng(seed), dict[str, list[NDArray[np.uint8]]]()
    environment: Any = ALL_V3_ENVIRONMENTS[task](render_mode="rgb_array")
    environment._set_task_called, environment._partially_observable = True, False
    del environment.sawyer_observation_space
    space = environment._random_reset_space
    environment._last_rand_vec = random.uniform(space.low, space.high)
    state, _ = environment.reset()
    experts: Any = ENV_POLICY_MAP
    expert = experts[task]()
    model = environment.unwrapped.model
    model.vis.quality.offsamples = model.vis.quality.shadowsize = 0  # a tenth of the time
    renderer = mujoco.Renderer(model, 64, 64)
    for tick in range(160):
        if tick % 8 == 0:
            for camera in _CAMERAS:
                renderer.update_scene(environment.unwrapped.data, camera=camera)
                grey = renderer.render() @ np.array([0.299, 0.587, 0.114])
                made.setdefault(camera, []).append(grey.reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(np.uint8))
        action = np.clip(expert.get_action(state), -1, 1) + random.normal(0, 0.1, 4)
        state, *_ = environment.step(np.clip(action, -1, 1))
    renderer.close()
    return {camera: np.stack(pictures) for camera, pictures in made.items()}


@pytest.fixture(scope="module")
def films() -> list[dict[str, NDArray[np.uint8]]]:
    return [filmed(task, seed) for seed in range(3) for task in _TASKS]


@pytest.mark.parametrize(("one", "two"), list(combinations(_CAMERAS, 2)))
def test_exchanged_cameras_are_found(films: list[dict[str, NDArray[np.uint8]]], one: str, two: str) -> None:
    episodes = []
    for number, film in enumerate(films):
        motion = attempt(number, ticks=len(film[one]))
        views: list[Attempt] = [replace(motion, scene=film[camera]) for camera in (one, two)]
        episodes.append(seen_by(f"attempt-{number}", *views[:: -1 if number < _EXCHANGED else 1]))
    plan = decide(episodes, Curation())
    gone = {one.manifest.attempt for one in episodes if not plan.decision(one.manifest.content_id).keep}
    assert gone == {f"attempt-{number}" for number in range(_EXCHANGED)}
