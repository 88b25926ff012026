"""One look at what runs, when one replica does not answer. Ray Serve's own door is replaced, nothing of ours."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray import serve
from ray.serve.schema import ApplicationStatus

from serving import applications
from serving.door import Address, Door
from serving.loads import Loads
from serving.permits import Permit
from serving.pool import Pool
from volano.errors import Code, ServeError
from volano.registry.metadata import unreleased

SICK, WELL, NEW, WARM, WILD, GONE = (digit * 64 for digit in "abcde0")
OTHER = "1" * 64


def test_a_replica_that_does_not_answer_keeps_no_other_policy_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    door = Door(WELL, dict, lambda work: [np.zeros((1, 1), np.float32)] * len(work), host="127.0.0.1", most=8)

    class Handle:
        """Serve's handle of an application."""

        def __init__(self, name: str) -> None:
            if name.endswith(GONE):
                raise RuntimeError("Serve knows no such application")
            self._name = name

        def broadcast(self, method: str) -> "Handle":
            assert method == "address"
            return self

        def results(self, timeout_s: float, return_exceptions: bool) -> list[Address | Exception | None]:
            assert return_exceptions
            if self._name.endswith(SICK):
                raise TimeoutError(f"no answer in {timeout_s} s")
            refused = ServeError(Code.SERVE_UNAVAILABLE, "its warm-up failed: ValueError", "see its log")
            told: dict[str, Address | Exception | None] = {WELL: door.address, WARM: None, WILD: refused}
            return [told[self._name.removeprefix("policy-")]]

    running = SimpleNamespace(
        status=ApplicationStatus.RUNNING,
        message="",
        deployments={"Replica": SimpleNamespace(replica_states={"RUNNING": 1}, message="")},
    )
    deployed: list[Any] = []
    removed: list[str] = []
    found = SimpleNamespace(applications={f"policy-{policy}": running for policy in (SICK, WELL, WARM, WILD, GONE)})
    found.applications |= {f"policy-{WELL}-bf16": running, f"policy-{OTHER}-bf16": running}
    monkeypatch.setattr(serve, "start", lambda **_: None)
    monkeypatch.setattr(serve, "status", lambda: found)
    monkeypatch.setattr(serve, "get_app_handle", Handle)
    monkeypatch.setattr(serve, "delete", lambda name, **_: removed.append(name))
    monkeypatch.setattr(serve, "run_many", lambda targets, **_: deployed.extend(targets))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    pool = Pool()
    pool.attach(loop)
    withdrawn: set[str] = set()

    def permit(policy: str) -> Permit:
        if policy in withdrawn:
            raise unreleased(policy)
        return Permit(trusted="{}", counter=1)

    now = [100.0]
    loads = Loads(tmp_path / "loads.json")
    looking = applications.Applications("store", permit, pool=pool, loads=loads, clock=lambda: now[0])
    told = looking.look(lambda: frozenset({SICK, WELL, NEW, WARM, WILD, GONE}))
    assert told == {
        GONE: "its replicas cannot be asked",
        SICK: "its replicas do not answer",
        WELL: "",
        NEW: applications.STARTING,
        WARM: applications.WARMING,
        WILD: "E-SERVE-001 its warm-up failed: ValueError",
    }
    assert removed == [f"policy-{OTHER}-bf16", f"policy-{WILD}"], "another engine's stays while its policy is wanted"
    stands = {policy: looking.status(policy) for policy in told}
    assert stands[WELL] is None
    stages = {policy: status.stage for policy, status in stands.items() if status is not None}
    assert stages == {SICK: "failed", NEW: "starting", WARM: "warming", WILD: "failed", GONE: "failed"}
    loads.note(20.0)
    now[0] = 107.0
    status = looking.status(NEW)
    assert status is not None
    assert (status.elapsed_s, status.expected_s) == (7.0, 20.0)
    assert [target.name for target in deployed] == [f"policy-{NEW}"]
    withdrawn |= {WELL, NEW}
    assert f"policy-{WELL}" not in removed
    told = looking.look(lambda: frozenset({SICK, WELL, NEW, WARM, WILD}))
    assert f"policy-{WELL}" in removed, "what runs and is not released any more ends"
    assert told[NEW].startswith("E-POLICY-007")
    assert len(deployed) == 1
    loop.call_soon_threadsafe(pool.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    door.close()
