"""A robot that never waits, against a real gateway whose policy is late: nothing old is executed, and no tick is empty.

The robot's clock stands still within a tick, so that what it took for young enough is judged by the same time here.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.routes import RobotRecord
from tests.integration.gateways import KEY, Controllers, Directory, hashed, running_gateway
from tests.unit.data.bundles import ROVER
from volano.embodiment.prefix import fits, longest_delay
from volano.errors import Code
from volano.inference.chunking import Joining
from volano.inference.guard import fallback_rows
from volano.inference.streaming import Command, StreamingClient

ROBOT = replace(ROVER, rate_hz=20.0, horizon=16)
OLDEST_S = 0.45
_COUNT = 1e-3
"""State and action say the tick of their observation, times this."""


@dataclass(kw_only=True)
class Late(Controllers):
    """Answers after a while, with the number of the observation in every row."""

    late_s: float = 0.0

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, within_s
        self.seen.append(observation)
        await asyncio.sleep(self.late_s)
        rows = np.zeros((ROBOT.horizon, 2), np.float32)
        rows[:] = 0.5, observation["observation/state"][1]
        return rows


@dataclass(frozen=True)
class Seen:
    images: Mapping[str, Any]
    state: Any


@dataclass(kw_only=True)
class Robot:
    """Steps at its rate and writes down when and what."""

    client: StreamingClient | None = None
    at: list[float] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)

    def clock(self) -> float:
        """The start of the tick, for whoever drives; everyone else's runs."""
        driving = threading.get_ident() == self.thread and self.at
        return self.at[-1] if driving else time.monotonic()

    def drive(self, ticks: int) -> None:
        assert self.client is not None
        images = {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8) for camera in ROBOT.cameras}
        for _ in range(ticks):
            tick = len(self.at)
            self.at.append(time.monotonic())
            state = np.array([0.5, tick * _COUNT], np.float32)
            self.commands.append(self.client.step(Seen(images, state), "go to the ball", tick))
            self.problems.append(self.client.problem)
            time.sleep(max(0.0, self.at[tick] + 1 / ROBOT.rate_hz - time.monotonic()))

    def ages(self) -> list[float | None]:
        """How old each tick's observation was by its number in the action; None where the robot fell back."""
        found: list[float | None] = []
        for now, command in zip(self.at, self.commands, strict=True):
            number = round(float(command.rows[0, 1]) / _COUNT)
            found.append(None if command.answer is None else now - self.at[number])
        return found


@contextmanager
def driving(act: Late, joining: Joining = "real_time") -> Iterator[Robot]:
    directory = Directory(robots={hashed(KEY): RobotRecord(id="rover-01", embodiment=ROBOT)})
    with running_gateway(directory, act, timeout_s=5.0) as running:
        robot = Robot()
        client = StreamingClient(
            running.url, KEY, ROBOT, "rover-01", oldest_s=OLDEST_S, joining=joining, clock=robot.clock
        )
        with closing(client):
            robot.client = client
            client.start_episode("attempt-1", "go-to")
            yield robot


def check_falls_back_as_declared(robot: Robot) -> None:
    last = None
    for command in robot.commands:
        if command.answer is None:
            np.testing.assert_array_equal(command.rows, fallback_rows(ROBOT, last))
        last = command.rows[0]


@pytest.mark.parametrize("late_s", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_no_action_is_executed_that_is_older_than_its_bound(late_s: float) -> None:
    act = Late(late_s=late_s)
    with driving(act) as robot:
        robot.drive(50)
    ages = robot.ages()
    assert len(ages) == 50, "every tick has a command"
    assert [age for age in ages if age is not None and not 0 <= age <= OLDEST_S] == []
    assert [round(c.age_s, 6) for c, age in zip(robot.commands, ages, strict=True) if age is not None] == [
        round(age, 6) for age in ages if age is not None
    ]
    check_falls_back_as_declared(robot)
    assert len(act.seen) > 1
    if late_s <= 0.1:
        assert any(age is not None for age in ages)
    if late_s > OLDEST_S:
        assert not any(age is not None for age in ages)
        assert robot.problems[-1].startswith((Code.SERVE_TIMEOUT, Code.SERVE_UNAVAILABLE))


@pytest.mark.parametrize("joining", ["latest_only", "weighted_average", "temporal_ensemble"])
def test_neither_is_one_that_was_joined_of_several(joining: Joining) -> None:
    with driving(Late(late_s=0.1), joining) as robot:
        robot.drive(40)
    acted = [command for command in robot.commands if command.answer is not None]
    assert acted
    assert all(0 <= command.age_s <= OLDEST_S for command in acted)
    check_falls_back_as_declared(robot)


def test_the_policy_is_told_what_the_robot_executes_meanwhile() -> None:
    act = Late(late_s=0.1)
    with driving(act) as robot:
        robot.drive(60)
    told = [one["volano"] for one in act.seen if "prefix" in one["volano"]]
    assert told
    for place in told:
        actions, delay = place["prefix"]["actions"], place["prefix"]["delay"]
        assert fits(ROBOT, len(actions), delay)
        for row, command in zip(actions[:delay], robot.commands[place["tick"] :], strict=False):
            if command.answer is None:
                break
            np.testing.assert_array_equal(command.rows[0], row)


def wait_for(robot: Robot, holds: Callable[[Command], bool], ticks: int = 200) -> None:
    """Drive until a command is as it should be."""
    for _ in range(ticks):
        robot.drive(1)
        if holds(robot.commands[-1]):
            return
    raise AssertionError(robot.problems[-1])


def test_a_policy_that_hangs_ends_in_the_fallback_and_the_robot_goes_on_when_it_answers_again() -> None:
    act = Late()
    with driving(act) as robot:
        wait_for(robot, lambda command: command.answer is not None)
        act.late_s = 30.0
        wait_for(robot, lambda command: command.answer is None)
        hung = len(robot.at) - 1
        robot.drive(3)
        assert [command.answer for command in robot.commands[hung:]] == [None] * 4
        assert float(robot.commands[-1].rows[0, 0]) == 0.0, "it has come to rest"
        act.late_s = 0.0
        wait_for(robot, lambda command: command.answer is not None)
        assert robot.client is not None
        assert robot.client.delay <= longest_delay(ROBOT)
    assert not any(age is not None and age > OLDEST_S for age in robot.ages())
    check_falls_back_as_declared(robot)


def test_a_gateway_that_is_away_means_the_fallback_at_once() -> None:
    robot = Robot()
    client = StreamingClient("ws://127.0.0.1:9", KEY, ROBOT, "rover-01", oldest_s=OLDEST_S, clock=robot.clock)
    with closing(client):
        robot.client = client
        robot.drive(5)
    assert all(command.answer is None for command in robot.commands)
    assert robot.problems[-1].startswith("E-SERVE-")
    check_falls_back_as_declared(robot)


def test_what_was_asked_in_one_episode_is_not_executed_in_the_next() -> None:
    act = Late(late_s=0.2)
    with driving(act) as robot:
        wait_for(robot, lambda _: bool(act.seen))
        assert robot.client is not None
        robot.client.start_episode("attempt-2", "go-to")
        begun = len(robot.at)
        wait_for(robot, lambda command: command.answer is not None)
    number = round(float(robot.commands[-1].rows[0, 1]) / _COUNT)
    assert number >= begun
