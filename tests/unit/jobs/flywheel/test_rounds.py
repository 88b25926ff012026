"""A flywheel that goes on after a failure, and is killed before it has begun to."""

from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS

from jobs.flywheel import rounds as flywheel_rounds
from jobs.flywheel.children import Children
from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan
from jobs.flywheel.rounds import Rounds
from jobs.flywheel.steps import Steps
from volano.errors import Code, ServeError, StorageError

PLAN = FlywheelPlan()


class Failing(Steps):
    """Steps of which the first one fails."""

    def fleet(self, name: str, attempts: list[dict[str, Any]]) -> dict[str, Any]:
        raise ServeError(Code.SERVE_UNAVAILABLE, f"no fleet for {len(attempts)} attempts of {name}", "none")


def rounds(home: Home) -> Rounds:
    return Rounds(home, PLAN, Failing(home, PLAN, Children(home.root / "processes", {}), 1), lambda: None)


def test_a_home_whose_driver_was_killed_before_it_went_on_can_still_go_on(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ServeError):
        rounds(home).turn()
    killed = rounds(home)
    DBOS.launch()
    killed._begin()
    DBOS.destroy()
    with pytest.raises(ServeError):
        rounds(home).turn()


class Dying(Steps):
    """Steps of which the first one ends its thread."""

    def fleet(self, name: str, attempts: list[dict[str, Any]]) -> dict[str, Any]:
        raise SystemExit(f"{len(attempts)} attempts of {name}")


def test_a_workflow_whose_thread_died_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the driver that began it, nor by one that found it under way."""
    monkeypatch.setattr(flywheel_rounds, "_GRACE_S", 0.5)
    home = Home(tmp_path)
    for _ in range(2):
        dying = Rounds(home, PLAN, Dying(home, PLAN, Children(home.root / "processes", {}), 1), lambda: None)
        with pytest.raises(StorageError) as caught:
            dying.turn()
        assert caught.value.code is Code.STORE_UNAVAILABLE
