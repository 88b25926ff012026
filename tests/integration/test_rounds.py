"""What a flywheel does after a failure, and with a policy that the gate refused; its steps answer at once here."""

# ruff: noqa: ARG002 - steps that answer at once look at few of their arguments

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.flywheel.children import Children
from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan
from jobs.flywheel.rounds import Rounds
from jobs.flywheel.steps import Steps
from volano.errors import Code, GateError, ServeError

PLAN = FlywheelPlan()


class Quick(Steps):
    """Steps that note that they were done, and answer what a real one may."""

    def __init__(self, home: Home, passes: Callable[[str], bool]) -> None:
        super().__init__(home, PLAN, Children(home.root / "processes", {}), 1)
        self.done: list[str] = []
        self._passes = passes

    def fleet(self, name: str, attempts: list[dict[str, Any]]) -> dict[str, Any]:
        self.done.append(f"fleet {name}")
        return {"attempts": len(attempts)}

    def ingest(self, name: str) -> dict[str, Any]:
        self.done.append(f"ingest {name}")
        return {}

    def mine(self) -> dict[str, Any]:
        return {"weights": {}, "reasons": {}}

    def version(self, parent: str, reason: str, weights: Any) -> str:
        return f"after {parent}: {reason}"

    def train(self, name: str, recipe: str, version: str, parent: str) -> str:
        self.done.append(f"train {name}")
        return f"policy of {name}"

    def evaluate(self, name: str, policy: str, version: str) -> dict[str, Any]:
        return {"file": name}

    def gate(self, candidate: str, current: str) -> dict[str, Any]:
        return {"passed": self._passes(candidate), "verdict": "", "reason": "because"}

    def release(self, name: str, policy: str, version: str, parent: str, evaluation: str) -> str:
        self.done.append(f"release {name}")
        return f"digest of {name}"

    def start_rollout(self, rollout_id: str, current: str, candidate: str) -> str:
        self.done.append(f"roll out {candidate}")
        return rollout_id

    def look(self, rollout_id: str) -> dict[str, Any]:
        return {"ended": True, "state": {}, "verdict": {}}

    def make_current(self, digest: str) -> None:
        self.done.append(f"current {digest}")


def test_a_gateway_that_was_late_once_is_waited_for_again(tmp_path: Path) -> None:
    home, steps = Home(tmp_path), Quick(Home(tmp_path), lambda _: True)
    answers = iter([False, True, True])

    def serving() -> None:
        if not next(answers):
            raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is not ready in time", "wait")

    with pytest.raises(ServeError):
        Rounds(home, PLAN, steps, serving).turn()
    result = Rounds(home, PLAN, steps, serving).turn()
    assert [one["digest"] for one in result["rounds"]] == ["digest of round-1", "digest of round-2"]
    assert len(steps.done) == len(set(steps.done)), "a step that was done is not done again"


def test_a_policy_that_the_gate_refused_is_never_released(tmp_path: Path) -> None:
    first = Quick(Home(tmp_path / "first"), lambda _: False)
    with pytest.raises(GateError):
        Rounds(Home(tmp_path / "first"), PLAN, first, lambda: None).turn()
    assert not [name for name in first.done if name.startswith(("release", "current", "roll out"))]

    second = Quick(Home(tmp_path / "second"), lambda candidate: candidate == "round-1")
    result = Rounds(Home(tmp_path / "second"), PLAN, second, lambda: None).turn()
    assert result["rounds"][1]["rollout"] is None
    assert [name for name in second.done if name.startswith(("release", "roll out"))] == ["release round-1"]
