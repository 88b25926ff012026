"""A Gymnasium environment that a served policy drives. The world is one of the shipped simulators; put your own there.

    python -m examples.gymnasium_loop --url ws://127.0.0.1:8700 --key KEY --robot scout-01 --body scout --task red

The policy answers a chunk: its first `execute` rows are executed, then it is asked again. Without an answer the robot
executes the contract's fallback, which keeps it still.
"""

import argparse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.evaluate.simulator import Simulator
from volano.evaluate.simulators.build import build
from volano.inference.client import RobotClient, fallback_chunk

Rows = NDArray[np.float32]


class SimulatedEnv(gymnasium.Env):
    """One task of a simulator as an environment: an action is one row of a chunk, in the contract's units."""

    def __init__(self, simulator: Simulator, task: str) -> None:
        robot = simulator.embodiment
        self._simulator, self._task = simulator, task
        images: dict[str, gymnasium.Space[Any]] = {
            camera.name: gymnasium.spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
            for camera in robot.cameras
        }
        state = gymnasium.spaces.Box(-np.inf, np.inf, (len(robot.state),), np.float32)
        self.observation_space = gymnasium.spaces.Dict(images=gymnasium.spaces.Dict(images), state=state)
        low, high = (np.array([getattr(one, side) for one in robot.action], np.float32) for side in ("low", "high"))
        self.action_space = gymnasium.spaces.Box(low, high)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; the instruction is in the info."""
        super().reset(seed=seed, options=options)
        self._simulator.reset(self._task, 0 if seed is None else seed)
        return self._seen(), {"instruction": self._simulator.instruction}

    def step(self, action: Rows) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one row for one tick."""
        done = self._simulator.act(action[np.newaxis], 0)
        return self._seen(), float(done.success), done.done, False, {"success": done.success}

    def _seen(self) -> dict[str, Any]:
        found = self._simulator.observe()
        return {"images": found.images, "state": found.state}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the client wants of an observation."""

    images: Mapping[str, NDArray[np.uint8]]
    state: Rows


@dataclass(frozen=True, kw_only=True)
class Drive:
    """How an episode went."""

    ticks: int
    success: bool
    held: int
    """Questions without an answer."""


def drive(env: gymnasium.Env, client: RobotClient, robot: Embodiment, *, attempt: str, task: str, seed: int) -> Drive:
    """One episode; `attempt` is its name, unique for the robot."""
    client.start_episode(attempt, task)
    observation, info = env.reset(seed=seed)
    rows, tick, held, over = fallback_chunk(robot), 0, 0, False
    while not over:
        if tick % robot.execute == 0:
            answer = client.act(Seen(**observation), info["instruction"], tick)
            held += answer is None
            rows = fallback_chunk(robot) if answer is None else answer.chunk
        observation, _, terminated, truncated, last = env.step(rows[tick % robot.execute])
        tick, over = tick + 1, terminated or truncated
    return Drive(ticks=tick, success=last["success"], held=held)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--robot", required=True, help="its name in the ledger")
    parser.add_argument("--body", required=True, help="embodiment: scout, glider or sawyer")
    parser.add_argument("--task", required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with closing(build(given.body)) as simulator:
        robot = simulator.embodiment
        with closing(RobotClient(given.url, given.key, robot, given.robot, 1.0, images="png")) as client:
            env = SimulatedEnv(simulator, given.task)
            print(drive(env, client, robot, attempt=f"example-{given.seed}", task=given.task, seed=given.seed))


if __name__ == "__main__":
    main()
