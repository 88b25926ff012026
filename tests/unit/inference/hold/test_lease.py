"""A lease never lasts longer than its length behind the question, whatever clocks, networks and gateways do."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from volano.inference.hold.lease import LEASE_S, RENEW_S, Lease

TRIALS = 1000


def test_a_lease_counts_from_the_question() -> None:
    lease = Lease()
    assert lease.problem(0.0).startswith("E-HOLD-002")
    first, second = lease.ask(0.0), lease.ask(1.0)
    lease.grant(second, LEASE_S)
    lease.grant(first, LEASE_S)  # late: it shortens nothing
    assert lease.problem(5.9) == ""
    assert lease.problem(6.0).startswith("E-HOLD-002")


def test_a_stop_ends_it_and_what_was_asked_before_grants_nothing() -> None:
    lease = Lease()
    asked = lease.ask(0.0)
    lease.stop("smoke")
    lease.grant(asked, LEASE_S)
    assert lease.problem(0.1) == "E-HOLD-001 smoke"
    lease.grant(lease.ask(1.0), LEASE_S)
    assert lease.problem(1.1) == ""


@pytest.mark.parametrize("length_s", [float("nan"), -1.0, 0.0])
def test_a_length_that_is_none_grants_nothing(length_s: float) -> None:
    lease = Lease()
    lease.grant(lease.ask(0.0), length_s)
    assert lease.problem(0.1)


def test_strange_numbers_and_long_leases_give_no_more() -> None:
    lease = Lease()
    lease.grant(7, LEASE_S)
    assert lease.problem(0.0)
    number = lease.ask(0.0)
    lease.grant(number, 1e9)
    lease.grant(number, 1e9)
    assert lease.problem(LEASE_S)


def test_a_clock_that_goes_back_ends_it() -> None:
    lease = Lease()
    lease.grant(lease.ask(100.0), LEASE_S)
    assert lease.problem(101.0) == ""
    assert lease.problem(100.5)


@dataclass(kw_only=True)
class Trial:
    """One robot, one gateway, a network that delays, loses, repeats and parts, and an operator who stops it once.

    Time is true time in steps of 20 ms; the robot's own clock runs at its own rate, starts anywhere and jumps."""

    random: Random
    lease: Lease = field(default_factory=Lease)
    acted: list[float] = field(default_factory=list)
    on_way: deque[tuple[float, str, int]] = field(default_factory=deque)

    def run(self) -> tuple[float, float]:
        """When it was stopped and when the robot acted last; `acted` holds every true time of a policy's action."""
        draw = self.random
        rate, offset = draw.uniform(0.95, 1.05), draw.uniform(-1e6, 1e6)
        stopped_at, parted_at = draw.uniform(2, 12), draw.uniform(0, 14)
        healed_at = parted_at + draw.expovariate(0.2)
        ask_at, now, jumps = 0.0, 0.0, {round(draw.uniform(0, 20), 1) for _ in range(draw.randrange(3))}
        while now < 24.0:
            if round(now, 2) in jumps:
                jumps.discard(round(now, 2))
                offset += draw.choice([-3600.0, -2.0, -0.5, 1.0, 3600.0])
                ask_at = now
            clock, parted = now * rate + offset, parted_at <= now < healed_at
            if now >= ask_at:
                ask_at = now + RENEW_S
                self._send("ask", self.lease.ask(clock), now, parted)
            self._deliver(now, stopped_at, parted)
            if not self.lease.problem(clock):
                self.acted.append(now)
            now += 0.02
        return stopped_at, max(self.acted, default=0.0)

    def _send(self, kind: str, number: int, now: float, parted: bool) -> None:
        copies = self.random.choice([0, 1, 1, 1, 1, 2])
        for _ in range(copies):
            late = self.random.expovariate(20) if self.random.random() < 0.8 else self.random.uniform(0, 15)
            self.on_way.append((now + late + (20.0 if parted else 0.0), kind, number))

    def _deliver(self, now: float, stopped_at: float, parted: bool) -> None:
        if parted:
            return
        for arriving in [one for one in self.on_way if one[0] <= now]:
            self.on_way.remove(arriving)
            _, kind, number = arriving
            if kind == "ask":
                self._send("stop" if now >= stopped_at else "grant", number, now, parted)
            elif kind == "grant":
                self.lease.grant(number, LEASE_S)
            else:
                self.lease.stop("stopped")


def test_no_policy_acts_behind_a_stop_and_a_lease_in_a_thousand_partitions() -> None:
    late, acted = [], 0
    for seed in range(TRIALS):
        trial = Trial(random=Random(seed))
        stopped_at, last = trial.run()
        acted += len(trial.acted)
        if last > stopped_at + LEASE_S / 0.95 + 0.04:
            late.append((seed, last - stopped_at))
    assert late == []
    assert acted > 100 * TRIALS, "the trials let robots act at all"
