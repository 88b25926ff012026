"""What must hold at any moment of a simulated rollout, known apart from the code that is tested.

The world tells what really happened; `Broken` is raised by the first thing that may not be.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from volano.flywheel.reconcile import Look
from volano.inference.hold.lease import LEASE_S
from volano.inference.hold.state import Order, Stop, Subject
from volano.ledger.ledger import Ledger
from volano.rollout.plan import Rollout
from volano.rollout.state import Promoted, RolledBack

SLOWEST = 0.97
"""Seconds of a robot's clock in a true second, at the least."""


def assignments(ledger: Ledger) -> list[Any]:
    """Every row, by another way than the ledger's own."""
    with ledger.engine.connect() as connection:
        return list(
            connection.exec_driver_sql("SELECT robot, episode, task, rollout, policy, arm, counter FROM assignments")
        )


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(kw_only=True)
class Truth:
    """What happened, in true seconds."""

    plan: Rollout
    executed: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """Policies whose actions each episode of a robot executed."""
    delivered: dict[str, bool] = field(default_factory=dict)
    """Success of every accepted upload, by robot and episode."""
    orders: dict[str, dict[str, tuple[float, Order]]] = field(default_factory=lambda: defaultdict(dict))
    """What each gateway confirmed, and when it did."""
    rolled_back: bool = False
    """The ledger says so, and everybody who asks it from now on hears it."""
    rolled_back_seen: set[str] = field(default_factory=set)
    """Gateways that have looked at the ledger since the rollback."""
    actions: int = 0

    def confirmed(self, gateway: str, order: Order, now: float) -> None:
        """A gateway said that it obeys."""
        self.orders[gateway].setdefault(order.id, (now, order))

    def stopped_since(self, gateway: str, robot: Subject) -> float | None:
        """Since when a gateway has to hold a robot; None when it may act."""
        orders = self.orders[gateway].values()
        lifted = {one for _, order in orders if not isinstance(order, Stop) for one in order.lifts}
        since = [at for at, one in orders if isinstance(one, Stop) and one.id not in lifted and one.means(robot)]
        return min(since, default=None)

    def answered(self, gateway: str, robot: Subject, policy: str, rollout: str) -> None:
        """Actions left a gateway."""
        if self.stopped_since(gateway, robot) is not None:
            raise Broken(f"{gateway} answered {robot.robot}, which is stopped there")
        if gateway in self.rolled_back_seen and (rollout, policy) == (self.plan.id, self.plan.candidate):
            raise Broken(f"{gateway} answered {robot.robot} by a candidate that was rolled back")

    def acted(self, robot: Subject, episode: str, policy: str, gateways: list[str], now: float) -> None:
        """A robot executed an action of a policy."""
        self.actions += 1
        policies = self.executed[robot.robot, episode]
        policies.add(policy)
        if len(policies) > 1:
            raise Broken(f"two policies in {robot.robot}/{episode}")
        since = [self.stopped_since(gateway, robot) for gateway in gateways]
        latest = max((one for one in since if one is not None), default=0.0)
        if None not in since and now > latest + LEASE_S / SLOWEST + 0.1:
            raise Broken(f"{robot.robot} acts {now - latest:.1f} s after it was stopped everywhere")

    def looked(self, ledger: Ledger, look: Look, *, ended: bool) -> None:
        """A look was written: nothing counted twice or forgotten, and at the end the policies in place are what it
        says."""
        if ended:  # nothing is gathered any more
            self.in_place(ledger, look)
            return
        expected = {"A": 0, "B": 0}
        slots = set()
        for given in assignments(ledger):
            if given.arm not in expected or given.rollout != self.plan.id:
                continue
            slot = (given.robot, given.task, given.counter)
            if slot in slots:
                raise Broken(f"two episodes of {slot} in one place of a block")
            slots.add(slot)
            name = f"{given.robot}/{given.episode}"
            ran = self.executed.get((given.robot, given.episode))
            expected[given.arm] += name in self.delivered and ran == {given.policy}
        numbers = look.verdicts[-1].numbers
        counted = {"A": numbers["current_episodes"], "B": numbers["candidate_episodes"]}
        if counted != expected:
            raise Broken(f"outcomes counted {counted}, brought {expected}")
        if len(look.evidence.outcomes) != len({(one.robot, one.episode) for one in look.evidence.outcomes.values()}):
            raise Broken("an episode stands twice in the evidence")

    def in_place(self, ledger: Ledger, look: Look) -> None:
        """Each embodiment has the one policy that the rollout's state says."""
        self.rolled_back = isinstance(look.state, RolledBack)
        wanted = self.plan.candidate if isinstance(look.state, Promoted) else self.plan.current
        for fingerprint in self.plan.embodiments:
            if (found := ledger.current(fingerprint)) != wanted:
                raise Broken(f"the rollout is {look.state.kind} and {str(found)[:8]} is in place")
