"""The gateway's directory over the ledger: who a robot is, and which policy its episode runs.

An assignment is decided once, by `volano.rollout.assign` or the policy in place, and kept with its counter before the
route leaves this module; whoever asks again, even after a restart, gets the same. A route names ready policies only.
"""

import json
import time
from collections.abc import Callable, Iterable

from serving.routes import RobotRecord, Route
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, ServeError
from volano.ledger.ledger import Ledger
from volano.ledger.records import Choice, Situation
from volano.rollout.assign import assign
from volano.rollout.plan import Rollout
from volano.rollout.state import state_from_json

Problem = Callable[[str], str]
"""Why the policy of a digest cannot answer now; empty when it is ready."""


class LedgerDirectory:
    """Implements `serving.routes.Directory`; threads may share it."""

    def __init__(
        self, ledger: Ledger, robots: Iterable[Embodiment], problem: Problem, clock: Callable[[], float] = time.time
    ) -> None:
        """`robots` are the contracts that may be enrolled, `clock` gives Unix time in seconds."""
        self._ledger = ledger
        self._robots = {robot.fingerprint: robot for robot in robots}
        self._problem = problem
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
        return RobotRecord(id=robot.id, embodiment=self._robots[robot.fingerprint])

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        """The policy of an episode; raises ServeError(E-SERVE-001) when there is none or its replicas are not ready."""
        kept = self._ledger.assign_episode(
            robot_id, task, episode, lambda situation: choose(situation, self._problem), self._clock()
        )
        _require_ready(kept.policy, self._problem)
        shadow = None if kept.shadow is None or self._problem(kept.shadow) else kept.shadow
        return Route(policy=kept.policy, shadow=shadow, rollout=kept.rollout, arm=kept.arm)


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
    record = ledger.active_rollout()
    if record is not None:
        plan = Rollout.from_json(json.loads(record.document))
        named |= {plan.current, plan.candidate, *plan.pins.values()}
    return frozenset(named)


def _decided(situation: Situation) -> Choice:
    robot, record = situation.robot, situation.rollout
    if record is not None:
        plan = Rollout.from_json(json.loads(record.document))
        if robot.fingerprint in plan.embodiments:
            state = state_from_json(json.loads(record.state))
            found = assign(plan, state, robot.id, situation.task, situation.counter)
            return Choice(
                rollout=record.id, policy=found.policy, shadow=found.shadow, arm=found.arm, reason=found.reason
            )
    if situation.current is None:
        raise ServeError(
            Code.SERVE_UNAVAILABLE,
            f"no policy is in place for {robot.embodiment!r}",
            "release one and set it as the current policy of the embodiment",
        )
    return Choice(rollout="", policy=situation.current, shadow=None, arm="", reason="current")


def _require_ready(policy: str, problem: Problem) -> None:
    if why := problem(policy):
        raise ServeError(
            Code.SERVE_UNAVAILABLE, f"policy {policy[:12]} is not ready: {why}", "wait, or see `volano serve status`"
        )
