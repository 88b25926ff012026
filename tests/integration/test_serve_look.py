"""One look at what runs, when one replica does not answer. Ray Serve's own door is replaced, nothing of ours."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray.serve.schema import ApplicationStatus

from serving import act

SICK, WELL, NEW = "a" * 64, "b" * 64, "c" * 64


class Handle:
    """Serve's handle of an application."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.ready = self

    def remote(self) -> "Handle":
        return self

    def result(self, timeout_s: float) -> bool:
        if self._name.endswith(SICK):
            raise TimeoutError(f"no answer in {timeout_s} s")
        return True

    def cancel(self) -> None:
        """Serve forgets the question."""


def test_a_replica_that_does_not_answer_keeps_no_other_policy_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SimpleNamespace(status=ApplicationStatus.RUNNING, message="", deployments={})
    deployed: list[Any] = []
    found = SimpleNamespace(applications={f"policy-{policy}": running for policy in (SICK, WELL)})
    monkeypatch.setattr(serve, "start", lambda **_: None)
    monkeypatch.setattr(serve, "status", lambda: found)
    monkeypatch.setattr(serve, "get_app_handle", Handle)
    monkeypatch.setattr(serve, "run_many", lambda targets, **_: deployed.extend(targets))
    told = act.Applications("store", []).look(frozenset({SICK, WELL, NEW}))
    assert told == {SICK: "its replicas do not answer", WELL: "", NEW: act.STARTING}
    assert [target.name for target in deployed] == [f"policy-{NEW}"]
