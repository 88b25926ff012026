"""Two turns of the flywheel as one durable workflow.

Every step's answer is kept in the workflow's database before the next begins: a driver that is killed goes on with the
step it was in, and a step that had begun is done again, which each of them bears. What must run beside a step (the
cluster, the gateway) is not a step: it is made sure of before each step that needs it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowHandle

from jobs.flywheel.home import Home
from jobs.flywheel.plan import FlywheelPlan, demonstrations, practice, wave
from jobs.flywheel.steps import Steps
from volano.errors import Code, ConfigError, GateError, StorageError

_LOG = logging.getLogger(__name__)
_NAME, _VERSION = "flywheel", "volano.flywheel.1"
"""The version changes whenever the order of steps does: a workflow goes on only with the steps it began with."""
_UNDER_WAY = {"PENDING", "ENQUEUED", "DELAYED"}
_LOOK_S, _GRACE_S = 0.2, 60.0


class Rounds:
    """The workflow over one home. `serving` makes sure that a gateway answers."""

    def __init__(self, home: Home, plan: FlywheelPlan, steps: Steps, serving: Callable[[], None]) -> None:
        self._plan = plan
        self._steps = steps
        self._serving = serving
        self._timings: list[dict[str, Any]] = []
        config: DBOSConfig = {
            "name": "volano",
            "system_database_url": home.workflows_url,
            "application_version": _VERSION,
            "executor_id": "flywheel",
            "log_level": "CRITICAL",
        }
        DBOS(config=config)

        self._ended = threading.Event()

        def flywheel() -> dict[str, Any]:
            self._ended.clear()
            try:
                return self._turn_twice()
            finally:
                self._ended.set()

        self._workflow = DBOS.workflow(name=_NAME)(flywheel)

    def turn(self) -> dict[str, Any]:
        """Turn twice, or finish what was begun; what happened, as plain data. Raises what a step raised, and
        StorageError(E-STORE-004) when the workflow ended and its database was not told how."""
        DBOS.launch()
        try:
            return dict(self._answer(self._begin()))
        finally:
            DBOS.destroy()

    def _answer(self, workflow: WorkflowHandle[dict[str, Any]]) -> dict[str, Any]:
        """What a workflow ended with. DBOS itself waits for ever for one whose thread died before it said so."""
        until = float("inf")
        while workflow.get_status().status in _UNDER_WAY:
            if self._ended.is_set():
                until = min(until, time.monotonic() + _GRACE_S)
            if time.monotonic() > until:
                cause = "the flywheel ended, and its database does not know how"
                raise StorageError(Code.STORE_UNAVAILABLE, cause, "make room on the home's disk, then run it again")
            time.sleep(_LOOK_S)
        return workflow.get_result()

    def _begin(self) -> WorkflowHandle[dict[str, Any]]:
        """Start; or follow what was begun before: it goes on by itself when its driver was killed, and after a failure
        from the step that failed, or behind the last one that was done."""
        known = DBOS.list_workflows(name=_NAME, sort_desc=True, limit=1)
        if not known:
            with SetWorkflowID(_NAME):
                return DBOS.start_workflow(self._workflow)
        last = known[0]
        if last.app_version != _VERSION:
            raise ConfigError(
                Code.CONFIG_VALUE,
                f"this home was begun as {last.app_version}, which nobody runs now",
                "name a new home",
            )
        steps = DBOS.list_workflow_steps(last.workflow_id)
        failed = [step["function_id"] for step in steps if step["error"] is not None]
        if not failed and last.status != "ERROR":
            return DBOS.retrieve_workflow(last.workflow_id)
        behind = 1 + max((step["function_id"] for step in steps), default=0)
        start = failed[0] if failed else behind
        return DBOS.fork_workflow(last.workflow_id, start, application_version=_VERSION)

    def _turn_twice(self) -> dict[str, Any]:
        self._timings.clear()
        first = self._first_round()
        second = self._second_round(first)
        return {"rounds": [first, second], "timings": self._timings}

    def _first_round(self) -> dict[str, Any]:
        steps, plan = self._steps, self._plan
        self._step("collect demonstrations", steps.fleet, "demonstrate", demonstrations(plan))
        counts = self._step("ingest demonstrations", steps.ingest, "demonstrations")
        mined = self._step("mine demonstrations", steps.mine)
        version = self._step("dataset version 1", steps.version, "", "demonstrations", mined["weights"])
        learned = self._learn("1", "nano", version, "", None)
        if not learned["gate"]["passed"]:
            raise GateError(
                Code.GATE_REFUSED, f"the first policy did not pass: {learned['gate']['reason']}", "train it longer"
            )
        self._step("make policy 1 current", steps.make_current, learned["digest"])
        return {"counts": counts, "version": version, "mined": mined["reasons"], "rollout": None, **learned}

    def _second_round(self, first: dict[str, Any]) -> dict[str, Any]:
        steps, plan = self._steps, self._plan
        self._serving()
        self._step("practise", steps.fleet, "practise", practice(plan))
        counts = self._step("ingest practice", steps.ingest, "practice")
        mined = self._step("mine practice", steps.mine)
        version = self._step(
            "dataset version 2", steps.version, first["version"], "interventions and failures first", mined["weights"]
        )
        learned = self._learn("2", "nano_finetune", version, first["policy"], first)
        rollout = self._roll_out(first["digest"], learned) if learned["gate"]["passed"] else None
        return {"counts": counts, "version": version, "mined": mined["reasons"], "rollout": rollout, **learned}

    def _learn(
        self, number: str, recipe: str, version: str, parent: str, before: dict[str, Any] | None
    ) -> dict[str, Any]:
        """A trained and evaluated policy; only one that passed the gate is released, and has a digest."""
        steps, name = self._steps, f"round-{number}"
        policy = self._step(f"train policy {number}", steps.train, name, recipe, version, parent)
        evaluation = self._step(
            f"evaluate policy {number}", steps.evaluate, name, policy, before["version"] if before else version
        )
        gate = self._step(f"gate {number}", steps.gate, evaluation["file"], before["evaluation"] if before else "")
        digest = ""
        if gate["passed"]:
            digest = self._step(
                f"release policy {number}",
                steps.release,
                *(name, policy, version, before["digest"] if before else "", evaluation["file"]),
            )
        return {"policy": policy, "evaluation": evaluation["file"], "gate": gate, "digest": digest}

    def _roll_out(self, current: str, learned: dict[str, Any]) -> dict[str, Any]:
        steps, plan = self._steps, self._plan
        rollout = self._step("start rollout", steps.start_rollout, "rollout-2", current, learned["digest"])
        for number in range(len(plan.waves)):
            self._serving()
            self._step(f"rollout wave {number + 1}", steps.fleet, f"wave-{number + 1}", wave(plan, number))
            self._step(f"ingest wave {number + 1}", steps.ingest, f"wave-{number + 1}")
            state = self._step(f"look {number + 1}", steps.look, rollout)
            if state["ended"]:
                break
        return {"id": rollout, "state": state}

    def _step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        def timed() -> dict[str, Any]:
            _LOG.info("… %s", name)
            begun = time.time()
            answer = function(*arguments)
            return {"step": name, "begun": begun, "seconds": time.time() - begun, "answer": answer}

        done = DBOS.run_step({"name": name}, timed)
        _LOG.info("✔ %s (%.0f s)", name, done["seconds"])
        self._timings.append({key: done[key] for key in ("step", "begun", "seconds")})
        return done["answer"]
