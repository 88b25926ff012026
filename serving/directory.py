"""The gateway's directory over the ledger: who a robot is, and which policy its episode runs.

An assignment is decided once, by `volano.rollout.assign` or the policy in place, and kept with its counter before the
route leaves this module; whoever asks again, even after a restart, gets the same. A route names ready policies only.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable

from serving.routes import RobotRecord, Route, withdrawn
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, ServeError
from volano.inference.bench import TASK
from volano.inference.protocols.own import Status
from volano.ledger.ledger import Ledger
from volano.ledger.records import Choice, RolloutRecord, Situation
from volano.rollout.assign import assign
from volano.rollout.plan import Rollout, readable
from volano.rollout.state import RolledBack, State, state_from_json

_LOG = logging.getLogger(__name__)
Problem = Callable[[str], str]
"""Why the policy of a digest cannot answer now; empty when it is ready."""
Permit = Callable[[str, str, str], object]
"""Called with a robot's name, its contract's fingerprint and a policy's digest before that policy answers the robot;
raises PolicyError when it may not."""
Stands = Callable[[str], Status | None]
"""How the policy of a digest stands while it cannot answer; None when it is ready."""


class LedgerDirectory:
    """Implements `serving.routes.Directory`; threads may share it."""

    def __init__(
        self,
        ledger: Ledger,
        robots: Iterable[Embodiment],
        problem: Problem,
        permit: Permit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`robots` are the contracts that may be enrolled, `clock` gives Unix time in seconds."""
        self._ledger = ledger
        self._robots = {robot.fingerprint: robot for robot in robots}
        self._problem = problem
        self._permit = permit
        self._clock = clock

    def robot(self, key_sha256: str) -> RobotRecord | None:
        """The robot whose key has this SHA-256; raises ContractError(E-CONTRACT-002) when its contract is not known."""
        robot = self._ledger.robot_by_key_sha256(key_sha256)
        if robot is None:
            return None
        if robot.fingerprint not in self._robots:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"robot {robot.id!r} has the unknown contract {robot.fingerprint[:12]} ({robot.embodiment})",
                "enroll it again with a contract that this gateway knows",
            )
        return RobotRecord(id=robot.id, embodiment=self._robots[robot.fingerprint], site=robot.site)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        """The policy of an episode; raises ServeError(E-SERVE-001) when there is none or its replicas are not ready,
        and PolicyError when the robot may not execute its answers: not released, not assigned, expired or older."""
        kept = self._ledger.assign_episode(
            robot_id, task, episode, lambda situation: choose(situation, self._problem), self._clock()
        )
        if kept.rollout and _is_withdrawn(self._ledger.rollout(kept.rollout), kept.policy):
            raise withdrawn(kept.policy)
        _require_ready(kept.policy, self._problem)
        robot = self._ledger.robot(robot_id)
        self._permit(robot_id, robot.fingerprint if robot else "", kept.policy)
        shadow = None if kept.shadow is None or self._problem(kept.shadow) else kept.shadow
        return Route(policy=kept.policy, shadow=shadow, rollout=kept.rollout, arm=kept.arm)

    def standing(self, robot: RobotRecord, stands: Stands) -> Status | None:
        """How the first policy stands that a new episode of the robot may get and that is not ready; None when all
        are."""
        found = (stands(policy) for policy in self._awaited(robot))
        return next((status for status in found if status is not None), None)

    def _awaited(self, robot: RobotRecord) -> list[str]:
        plan = _plan(self._ledger.active_rollout())
        if plan is not None and robot.embodiment.fingerprint in plan.embodiments:
            return [plan.current, plan.candidate]
        current = self._ledger.current_policies().get(robot.embodiment.fingerprint)
        return [] if current is None else [current]


def choose(situation: Situation, problem: Problem) -> Choice:
    """Decide a new episode; raises ServeError(E-SERVE-001) when no policy may act for the robot now.

    A policy that is still loading is waited for, never replaced by another: that would unbalance the measurement. A
    shadow that is not ready is left out, because what nobody hears must not keep a robot waiting.
    """
    choice = _decided(situation)
    _require_ready(choice.policy, problem)
    return choice


def named_policies(ledger: Ledger, recent: float) -> frozenset[str]:
    """Digests of the policies that must be served: those in place, those of the active rollout, and those of episodes
    that began at or after `recent`, in Unix seconds."""
    named = set(ledger.current_policies().values()) | ledger.policies_assigned_since(recent)
    plan = _plan(ledger.active_rollout())
    if plan is not None:
        named |= {plan.current, plan.candidate, *plan.pins.values()}
    return frozenset(named)


def withdrawn_policies(ledger: Ledger) -> frozenset[tuple[str, str]]:
    """Rollout and candidate of every rollout that was rolled back, and each candidate that was in place by itself and
    is not any more: what is exposed by these gets no more actions."""
    rolled_back = [record for record in ledger.rollouts() if isinstance(_state(record), RolledBack)]
    found = {(record.id, candidate) for record in rolled_back if (candidate := _candidate(record))}
    in_place = set(ledger.current_policies().values())
    return frozenset(found | {("", candidate) for _, candidate in found if candidate not in in_place})


def _is_withdrawn(record: RolloutRecord | None, policy: str) -> bool:
    if record is None or not isinstance(_state(record), RolledBack):
        return False
    return policy == _candidate(record)


def _candidate(record: RolloutRecord) -> str:
    """By the document as it stands, which may be of older rules than these; empty when it names none."""
    try:
        document = json.loads(record.document)
    except ValueError:
        return ""
    return str(document.get("candidate", "")) if isinstance(document, dict) else ""


def _plan(record: RolloutRecord | None) -> Rollout | None:
    return readable(record.document) if record is not None else None


def _state(record: RolloutRecord) -> State:
    return state_from_json(json.loads(record.state))


def _decided(situation: Situation) -> Choice:
    robot, record, plan = situation.robot, situation.rollout, _plan(situation.rollout)
    if situation.task == TASK:  # its episodes never arrive
        record = None
    if record is not None and plan is None:
        _LOG.error("rollout %s cannot be read and is not followed: end it with `volano rollout rollback`", record.id)
    if record is not None and plan is not None and robot.fingerprint in plan.embodiments:
        peers = situation.peers() if plan.max_per_cell else ()
        found = assign(plan, _state(record), robot.id, situation.task, situation.counter, site=robot.site, peers=peers)
        return Choice(rollout=record.id, policy=found.policy, shadow=found.shadow, arm=found.arm, reason=found.reason)
    if situation.current is None:
        raise ServeError(
            Code.SERVE_UNAVAILABLE,
            f"no policy is in place for {robot.embodiment!r}",
            "release one and set it as the current policy of the embodiment",
        )
    return Choice(rollout="", policy=situation.current, shadow=None, arm="", reason="current")


def _require_ready(policy: str, problem: Problem) -> None:
    if why := problem(policy):
        why = why.split(" ")[0] if why.startswith("E-") else why  # robots hear the code: a cause may name a path
        raise ServeError(
            Code.SERVE_UNAVAILABLE, f"policy {policy[:12]} is not ready: {why}", "wait, or see `volano serve status`"
        )
