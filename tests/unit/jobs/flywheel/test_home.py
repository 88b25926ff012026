"""One flywheel at a time in a home, and one plan for ever."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan
from volano.errors import Code, ConfigError, SystemMissingError

PLAN = FlywheelPlan()


def test_a_second_flywheel_on_one_home_is_refused_while_the_first_turns(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.occupied():
        with pytest.raises(SystemMissingError) as refused, home.occupied():
            pass
        assert refused.value.code is Code.SYSTEM_OCCUPIED
    with home.occupied():
        pass


def test_a_home_goes_on_with_the_plan_it_began_with_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.bind(PLAN)
    home.bind(PLAN)
    with pytest.raises(ConfigError):
        home.bind(replace(PLAN, evaluation=4))
    home.bind(PLAN)
