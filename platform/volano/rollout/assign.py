"""Which policy an episode runs: exposure by robot, then measurement by randomised blocks within robot and task.

Both layers are hashes of the rollout's salt, so an assignment needs no memory, is the same on every machine, and
can be recomputed from the log. Hashing the robot alone decides who *may* get the candidate and never who is compared
with whom: comparing different robots with each other would measure the robots.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from volano.errors import Code, RolloutError
from volano.rollout.exposure import REASONS, UNSELECTED, exclusion
from volano.rollout.plan import CanaryStep, Rollout
from volano.rollout.state import ABTest, Canary, Hold, NeedsHuman, Promoted, RolledBack, Shadow, State

Arm = Literal["A", "B"]
"""A is the current policy, B the candidate."""
ARMS: tuple[Arm, ...] = get_args(Arm)
BLOCK = 2
"""Episodes per block: one of each arm, in random order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What one episode runs, from its first tick to its last."""

    policy: str
    """Digest of the policy whose actions are executed."""
    shadow: str | None
    """Digest of the policy that answers unheard; None when there is none."""
    arm: Arm | Literal[""]
    """Arm when the episode is part of the measurement (then its counter is used up), empty otherwise."""
    reason: str


def fraction(salt: str, purpose: str, name: str) -> float:
    """A number within [0, 1), fixed by its arguments and unrelated between salts and purposes."""
    digest = hashlib.sha256(f"{salt}\0{purpose}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2.0**48


def planned_arm(salt: str, robot: str, task: str, counter: int) -> Arm:
    """Arm of a robot's measured episode of a task: each block of two holds A and B, in an order drawn by hash."""
    block, position = divmod(counter, BLOCK)
    candidate_first = fraction(salt, f"block {block}", f"{robot}\0{task}") < 0.5
    return "B" if candidate_first == (position == 0) else "A"


def assign(
    document: Rollout,
    state: State,
    robot: str,
    task: str,
    counter: int,
    *,
    site: str = "",
    peers: Iterable[str] = (),
) -> Assignment:
    """The policy for a robot's next episode of a task.

    `counter` is how many measured episodes (an arm that is not empty) this robot has already begun for this task in
    this rollout, so that a block is never entered in its middle. `site` is where it stands and `peers` the robots of
    its site and embodiment. The caller has checked the robot's embodiment.
    """
    member = (robot, site, peers)
    if pinned := document.pins.get(robot):
        return Assignment(policy=pinned, shadow=None, arm="", reason="pinned")
    match state:
        case Shadow():
            outside = robot in document.deny or (document.tasks and task not in document.tasks)
            shadow = None if outside or exclusion(document, 100.0, *member) == UNSELECTED else document.candidate
            return Assignment(policy=document.current, shadow=shadow, arm="", reason="shadow")
        case Canary(step=step) | Hold(step=step):
            percent = percent_at(document, step, state.kind)
            if not percent:
                return Assignment(policy=document.current, shadow=None, arm="", reason="hold")
            return _measured(document, percent, member, task, counter)
        case ABTest():
            return _measured(document, 100.0, member, task, counter)
        case Promoted():
            excluded = REASONS[exclusion(document, 100.0, *member)]
            policy = document.current if excluded else document.candidate
            return Assignment(policy=policy, shadow=None, arm="", reason=excluded or "promoted")
        case RolledBack() | NeedsHuman():
            return Assignment(policy=document.current, shadow=None, arm="", reason=state.kind.replace("_", " "))
    assert_never(state)


def percent_at(document: Rollout, position: int, kind: str) -> float:
    """Share of the robots, in percent, that a canary exposes, or that a hold leaves exposed."""
    step = document.steps[position] if position < len(document.steps) else None
    if step is None or step.kind != kind:
        raise RolloutError(
            Code.ROLLOUT_STATE, f"step {position} of {document.id!r} is no {kind}", "load the rollout's own state"
        )
    before = [one.percent for one in document.steps[: position + 1] if isinstance(one, CanaryStep)]
    return before[-1] if before else 0.0


def _measured(
    document: Rollout, percent: float, member: tuple[str, str, Iterable[str]], task: str, counter: int
) -> Assignment:
    robot = member[0]
    excluded = REASONS[exclusion(document, percent, *member)]
    if document.tasks and task not in document.tasks:
        excluded = "another task"
    if excluded:
        return Assignment(policy=document.current, shadow=None, arm="", reason=excluded)
    arm = planned_arm(document.salt, robot, task, counter)
    policy = document.candidate if arm == "B" else document.current
    return Assignment(policy=policy, shadow=None, arm=arm, reason=f"block {counter // BLOCK}")
