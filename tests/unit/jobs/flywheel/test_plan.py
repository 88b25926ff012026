"""The plan of a flywheel: what it asks for is balanced, repeatable, and shares no seed with anything else."""

from collections import Counter
from itertools import product

from jobs.flywheel.plan import TASKS, FlywheelPlan, demonstrations, embodiment_of, practice, wave
from volano.evaluate.suite import SeedPool

PLAN = FlywheelPlan()


def test_every_task_is_shown_disturbed_twice_as_often_as_not() -> None:
    shown = Counter((embodiment_of(one["robot"]), one["task"], one["noise"] > 0) for one in demonstrations(PLAN))
    for robot, tasks in TASKS.items():
        for task in tasks:
            assert 1.5 < shown[robot, task, True] / shown[robot, task, False] < 2.5, (robot, task)


def test_no_two_attempts_share_a_seed_or_a_name() -> None:
    waves = [one for number in range(len(PLAN.waves)) for one in wave(PLAN, number)]
    attempts = [*demonstrations(PLAN), *practice(PLAN), *waves]
    assert len({(one["robot"], one["name"]) for one in attempts}) == len(attempts)
    assert len({(embodiment_of(one["robot"]), one["seed"]) for one in attempts}) == len(attempts)
    assert all(SeedPool.FLEET <= one["seed"] < SeedPool.GATE for one in attempts)


def test_only_robots_without_a_defect_follow_a_policy() -> None:
    robots = {one["robot"] for one in [*practice(PLAN), *wave(PLAN, 0)]}
    assert robots == set(PLAN.sound)
    assert robots.isdisjoint(PLAN.misbehave)
    assert len(PLAN.robots) - len(robots) == len(PLAN.misbehave) == 3


def test_every_robot_meets_every_task_of_its_own() -> None:
    met = {(one["robot"], one["task"]) for one in practice(PLAN)}
    assert met == {pair for robot in PLAN.sound for pair in product([robot], TASKS[embodiment_of(robot)])}
