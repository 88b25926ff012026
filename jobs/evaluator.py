"""One worker of an evaluation: a process with the policy, the simulators and one thread, which plays what it is told.

What it answers for a trial is a function of who acts, the robot, the task and the seed: the policy is asked for one
chunk at a time, with noise seeded by the trial, so neither the worker nor the order nor a neighbour can matter.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from jobs.crew import Shard
from volano.embodiment.contract import Embodiment
from volano.errors import WireError
from volano.evaluate.report import Actor
from volano.evaluate.simulator import FloatArray, Simulator
from volano.evaluate.simulators.build import build
from volano.evaluate.suite import (
    Chooser,
    Trial,
    TrialResult,
    hold_still,
    noise_seed,
    random_chunk,
    run_expert,
    run_trial,
    trial,
)
from volano.inference.guard import check_chunk, fallback_chunk
from volano.model.folder import load
from volano.model.policy import Policy, Sample


class Evaluator:
    """The worker; it opens each simulator once, when it first needs it."""

    def __init__(self, policy: str, chunks: Mapping[str, FloatArray]) -> None:
        self._folder = Path(policy)
        self._chunks = dict(chunks)
        self._simulators: dict[str, Simulator] = {}

    def open(self) -> int:
        """Load the policy; returns the process's identifier. Raises PolicyError."""
        torch.set_num_threads(1)
        self._policy = load(self._folder)
        return os.getpid()

    def play(self, shard: Shard) -> list[TrialResult]:
        """Every episode of a shard."""
        if shard.embodiment not in self._simulators:
            self._simulators[shard.embodiment] = build(shard.embodiment)
        simulator = self._simulators[shard.embodiment]
        planned = [trial(simulator.embodiment, simulator.tasks, number, shard.pool) for number in shard.numbers]
        if shard.actor == "expert":
            return [run_expert(simulator, one) for one in planned]
        return [run_trial(simulator, one, self._chooser(shard.actor, simulator, one)) for one in planned]

    def _chooser(self, actor: Actor, simulator: Simulator, one: Trial) -> Chooser:
        if actor == "policy":
            return policy_chooser(self._policy, simulator.embodiment, one)
        if actor == "random":
            return random_chunk(self._chunks[one.embodiment], noise_seed(one))
        return hold_still(simulator.embodiment)


def policy_chooser(policy: Policy, robot: Embodiment, one: Trial) -> Chooser:
    """The policy behind the guard that a robot has: an answer that the guard refuses keeps the robot still."""
    generator = torch.Generator().manual_seed(noise_seed(one))

    def choose(simulator: Simulator) -> FloatArray:
        observation = simulator.observe()
        images = tuple(observation.images[camera.name] for camera in robot.cameras)
        sample = Sample(embodiment=robot.tag, instruction=simulator.instruction, images=images, state=observation.state)
        try:
            return check_chunk(robot, policy.act([sample], generator)[0])
        except WireError:
            return fallback_chunk(robot)

    return choose
