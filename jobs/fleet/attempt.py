"""One attempt of one robot: a simulated world, a driver, and the recorder that makes what happened durable.

The robot executes a served policy's chunk some ticks at a time and stands still by the fallback chunk when no answer
came in time; an expert drives whole demonstrations and takes over attempts that fail. Simulated time is
tick / rate and runs as fast as it can, except without an answer: then it passes as real time does, so that an outage
lasts as long for the robot as for the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.fleet.plan import Attempt
from jobs.fleet.takeover import expert_must_drive
from volano.data.episode import Outcome, SegmentKind
from volano.data.record import Executed, Recorder
from volano.embodiment.contract import Embodiment
from volano.evaluate.simulator import Observation, Simulator, Step
from volano.inference.client import Answer, RobotClient, fallback_chunk


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Who drove one tick, in the words of the episode's table."""

    segment: SegmentKind
    executed: Executed
    policy: str = ""
    request: str = ""


_EXPERT = Drive(segment="intervention", executed="expert")
_FALLBACK = Drive(segment="autonomous", executed="fallback")


class Pilot:
    """Drives by a served policy's chunks."""

    def __init__(self, client: RobotClient, embodiment: Embodiment, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._robot = embodiment
        self._sleep = sleep
        self._chunk = fallback_chunk(embodiment)
        self._drive = _FALLBACK
        self.answer: Answer | None = None
        """The latest answer of this attempt."""

    def step(self, simulator: Simulator, observation: Observation, tick: int) -> tuple[Step, Drive]:
        """Drive one tick, asking for a new chunk when the last one was executed."""
        index = tick % self._robot.execute
        if index == 0:
            self._ask(observation, simulator.instruction, tick)
        elif self._client.stopped:
            self._chunk, self._drive = fallback_chunk(self._robot), _FALLBACK
        return simulator.act(self._chunk, index), self._drive

    def _ask(self, observation: Observation, instruction: str, tick: int) -> None:
        answer = self._client.act(observation, instruction, tick)
        if answer is None:
            self._chunk, self._drive = fallback_chunk(self._robot), _FALLBACK
            self._sleep(self._robot.execute / self._robot.rate_hz)
            return
        self.answer = answer
        self._chunk = answer.chunk
        self._drive = Drive(segment="autonomous", executed="policy", policy=answer.policy, request=answer.request)


def run_attempt(
    simulator: Simulator,
    attempt: Attempt,
    client: RobotClient | None,
    folder: Path,
    *,
    now: float,
    sleep: Callable[[float], None],
) -> Path:
    """Drive an attempt to its end and return its finished bundle in `folder`.

    `client` may be None for an expert's attempt; `now` is Unix time in seconds. Raises DataError(E-DATA-018) when
    the attempt is recorded there already; a torn recording is replaced.
    """
    robot = simulator.embodiment
    simulator.reset(attempt.task, attempt.seed)
    pilot = None if client is None or attempt.mode == "expert" else Pilot(client, robot, sleep)
    if client is not None and pilot is not None:
        client.start_episode(attempt.name, attempt.task)
    with Recorder(
        folder,
        robot,
        robot=attempt.robot,
        attempt=attempt.name,
        task=attempt.task,
        instruction=simulator.instruction,
        started_at=now,
    ) as recorder:
        tick, done, success, helped = 0, False, False, False
        while not done:
            observation = simulator.observe()
            helped = helped or pilot is None or expert_must_drive(robot, tick)
            if pilot is None or helped:
                step, drive = simulator.assist(attempt.noise), _EXPERT
            else:
                step, drive = pilot.step(simulator, observation, tick)
            recorder.tick(
                tick / robot.rate_hz,
                observation.images,
                observation.state,
                step.action,
                segment=drive.segment,
                policy=drive.policy,
                request=drive.request,
                executed=drive.executed,
            )
            done, success = step.done, step.success
            tick += 1
        answer = None if pilot is None else pilot.answer
        return recorder.finish(
            Outcome(success=success, autonomous=not helped, source="script"),
            rollout="" if answer is None else answer.rollout,
            arm="" if answer is None else answer.arm,
        )
