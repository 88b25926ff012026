"""Safety steps that can be taken out of a simulated rollout, one at a time."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from serving import directory
from serving.leases import Leases
from tests.sweeps.rollouts import gateway
from volano.flywheel import outcomes, reconcile
from volano.inference.hold.lease import LEASE_S, Lease
from volano.inference.hold.register import HoldRegister
from volano.inference.hold.state import Holds
from volano.ledger import ledger as ledgers
from volano.ledger.ledger import Ledger
from volano.ledger.records import Assignment

Patch = tuple[object, str, Callable[..., Any]]
_ADVANCE, _REQUIRE, _OUTCOMES, _SITUATION = (
    Ledger.advance_rollout,
    Leases.require,
    outcomes.outcomes,
    ledgers._situation,
)


def overtaking(self: Ledger, rollout: str, _revision: int, *arguments: Any, **options: Any) -> Any:
    """A step of a rollout that may have gone on meanwhile."""
    known = self.rollout(rollout)
    return _ADVANCE(self, rollout, known.revision if known else 0, *arguments, **options)


def nothing_in_place(self: Ledger, *arguments: Any, **options: Any) -> Any:
    """A promotion that changes no policy."""
    return _ADVANCE(self, *arguments, **{**options, "replacement": None})


def decided_anew(
    self: Ledger, robot_id: str, task: str, episode: str, decide: Callable[..., Any], now: float
) -> Assignment:
    """An episode that is given a policy whenever somebody asks, and nobody remembers."""
    with self._read() as session:
        situation = ledgers._situation(session, robot_id, task)
    choice = decide(situation)
    return Assignment(robot=robot_id, episode=episode, task=task, at=now, counter=situation.counter, **vars(choice))


def never_counted(session: Any, robot_id: str, task: str) -> Any:
    """Episodes that all stand in the first place of the first block."""
    return replace(_SITUATION(session, robot_id, task), counter=0)


def in_memory(self: HoldRegister, order: Any, envelope: bytes) -> bool:
    """An order that is obeyed and not written down."""
    del envelope
    self.holds = self.holds.after(order)
    return True


def asked_before_only(self: Leases, robot: Any) -> None:
    """A stop that is looked for before the policy is asked, and not behind it."""
    odd = vars(self).setdefault("_odd", set())
    if robot.id in odd:
        odd.discard(robot.id)
        return
    _REQUIRE(self, robot)
    odd.add(robot.id)


def from_receipt(self: Lease, number: int, length_s: float) -> None:
    """A lease that counts from when it arrives."""
    if self._asked.pop(number, None) is not None:
        self._from, self._until = self._latest, self._latest + min(length_s, LEASE_S)


def lifts_all(self: Holds) -> tuple[Any, ...]:
    """A resume that lifts whatever stands."""
    return () if self.resumes else tuple(self.stops.values())


def first_word(*gathered: Any) -> Any:
    """Evidence that is never corrected: an episode that was missing stays missing."""
    piece, known = _NEWS(*gathered), gathered[0].outcomes
    return replace(piece, outcomes=tuple(one for one in piece.outcomes if one.episode not in known))


_NEWS = reconcile._news


def twice(*arguments: Any, **options: Any) -> Any:
    """Every outcome once more, as another episode's of the next place."""
    found = _OUTCOMES(*arguments, **options)
    return (*found, *(replace(one, episode=f"{one.episode}-again", counter=one.counter + 2) for one in found))


def let_through(self: Leases, robot: Any) -> None:
    """HOLD that stops leases and not answers."""
    del self, robot


def unleased(self: Leases, robot: Any) -> str:
    """HOLD that stops answers and not leases; only what a robot has planned goes on."""
    del self, robot
    return ""


BUGS: dict[str, list[Patch]] = {
    "a look takes no notice of another": [(Ledger, "advance_rollout", overtaking)],
    "a promotion puts nothing in place": [(Ledger, "advance_rollout", nothing_in_place)],
    "an episode is decided anew": [(Ledger, "assign_episode", decided_anew)],
    "measured episodes are not counted": [(ledgers, "_situation", never_counted)],
    "an order is not written down": [(HoldRegister, "apply", in_memory)],
    "a stop is not looked for behind the policy": [(Leases, "require", asked_before_only)],
    "a stop keeps no answer back": [(Leases, "require", let_through)],
    "a lease counts from its arrival": [(Lease, "grant", from_receipt)],
    "a resume lifts every stop": [(Holds, "in_force", property(lifts_all))],  # type: ignore[list-item]
    "late evidence is not taken": [(reconcile, "_news", first_word)],
    "an outcome counts twice": [(reconcile, "outcomes", twice)],
    "a rollback withdraws nothing": [
        (gateway, "withdrawn_policies", lambda _ledger: frozenset()),
        (directory, "_is_withdrawn", lambda _record, _policy: False),
    ],
}


def planted(patches: Sequence[Patch]) -> ExitStack:
    """The bugs, until the stack is closed."""
    stack = ExitStack()
    for owner, name, replacement in patches:
        stack.enter_context(patch.object(owner, name, replacement))
    return stack
