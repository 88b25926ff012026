"""A robot's client that checks for itself: it executes no answer of a policy that it is not assigned.

What a gateway says is believed only as far as release and assignment agree with it (`volano.registry.agent`); whatever
does not ends in None, as everything else that goes wrong, and the robot falls back.
"""

from volano.embodiment.contract import Embodiment
from volano.inference.client import Answer, Observation, RobotClient
from volano.registry.agent import RobotAgent


class CheckedClient(RobotClient):
    """`RobotClient`, and the robot's agent behind it."""

    def __init__(
        self, url: str, key: str, embodiment: Embodiment, robot: str, timeout_s: float, agent: RobotAgent
    ) -> None:
        """The first five as of `RobotClient`."""
        super().__init__(url, key, embodiment, robot, timeout_s)
        self._agent = agent
        self._refused = ""

    @property
    def problem(self) -> str:
        """Why the last `act` returned None, with its code; empty when it answered."""
        return self._refused or super().problem

    def start_episode(self, attempt: str, task: str) -> None:
        """Learn what the robot is assigned by now, which may take a moment, and begin."""
        self._agent.look()
        super().start_episode(attempt, task)

    def act(self, observation: Observation, instruction: str, tick: int) -> Answer | None:
        """The answer of the policy that the robot is assigned, or None. Where another policy answers than before, the
        platform is asked first whether it may: that answer may come later than the deadline, and is for the next."""
        self._refused = ""
        answer = super().act(observation, instruction, tick)
        if answer is None:
            return None
        self._refused = self._agent.problem(answer.policy)
        return None if self._refused else answer
