"""A fleet's plan is read strictly."""

from typing import Any

import pytest

from jobs.fleet.plan import FleetPlan
from volano.errors import Code, ContractError, VolanoError

ATTEMPT = {"name": "a-1", "robot": "scout-01", "task": "red", "seed": 7, "mode": "expert", "noise": 0}


def plan(*attempts: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"attempts": [{**ATTEMPT, **attempt} for attempt in attempts], **rest}


def test_robots_start_in_the_order_of_the_plan() -> None:
    names = [("car-01", "a"), ("scout-01", "a"), ("scout-01", "b"), ("car-01", "b"), ("scout-01", "c")]
    read = FleetPlan.from_json(plan(*({"robot": robot, "name": name} for robot, name in names)))
    assert read.robots == ("car-01", "scout-01")
    assert [attempt.name for attempt in read.of_robot("car-01")] == ["a", "b"]
    assert read.misbehave == {}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"attempts": [{"name": "a-1"}]},
        plan({"mode": "teleport"}),
        plan({"seed": "7"}),
        plan({"noise": "much"}),
        plan({"colour": "red"}),
        plan({}, {}),
        plan({}, misbehave={"scout-01": "explode"}),
    ],
)
def test_what_is_no_plan_is_refused(data: object) -> None:
    with pytest.raises(VolanoError, match=Code.CONFIG_VALUE):
        FleetPlan.from_json(data)


def test_a_robot_of_no_known_embodiment_is_refused() -> None:
    with pytest.raises(ContractError):
        FleetPlan.from_json(plan({"robot": "submarine-01"}))
