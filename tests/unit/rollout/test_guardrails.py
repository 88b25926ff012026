"""A team's own guardrails see what they watch, are silent otherwise, and hold a promotion that nobody measured."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.unit.rollout.fleet import TESTING, outcome, plan
from volano.errors import RolloutError
from volano.rollout.betting import tripped
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.machine import Verdict, step
from volano.rollout.outcome import Outcome
from volano.rollout.plan import MinimumEvidence, Rollout
from volano.rollout.state import State
from volano.rollout.weights import Weights, weigh

HELP = Guardrail(name="help", metric="interventions", limit=1.0)
LATE = Guardrail(name="late", metric="latency_ms", limit=50.0, most=200.0, action="pause")
GRIP = Guardrail(name="grip", metric="grip", limit=0.5, direction="below")


def judged(document: Rollout, change: Callable[[Outcome], Outcome], blocks: int = 40) -> tuple[Weights, State, Verdict]:
    """Four robots, half of the blocks won by nobody and the rest by the candidate, each outcome changed."""
    found = []
    for number in range(blocks):
        for position in (0, 1):
            item = outcome(document, f"r{number % 4}", "t", 2 * (number // 4) + position)
            found.append(change(replace(item, success=item.arm == "B" or number % 2 == 0)))
    evidence = Evidence.of(document).extended(found)
    return weigh(evidence), *step(document, TESTING, evidence, 1.0)


def measured(**values: float) -> Callable[[Outcome], Outcome]:
    return lambda item: replace(item, measures=values)


def test_a_mean_beyond_its_limit_has_the_consequence_that_it_names() -> None:
    for guardrail, good, bad, kind in (
        (LATE, {"latency_ms": 30.0}, {"latency_ms": 90.0}, "need_human"),
        (GRIP, {"grip": 0.8}, {"grip": 0.1}, "rollback"),
    ):
        document = plan(watch=(guardrail,))
        weights, _, verdict = judged(document, measured(**good))
        assert (verdict.kind, weights.watched[guardrail.name].log_e < 0) == ("promote", True)
        weights, _, verdict = judged(document, measured(**bad))
        assert (verdict.kind, guardrail.name in verdict.reason) == (kind, True)
        assert weights.watched[guardrail.name].log_e > math.log(100)
        seen = weights.watched[guardrail.name]
        assert seen.low == pytest.approx(next(iter(bad.values())), abs=1e-3)
        assert verdict.numbers[f"guard/{guardrail.name}/n"] == seen.n == 40


def test_safety_stops_are_a_rate_that_may_be_tolerated() -> None:
    document = plan(watch=(replace(HELP, metric="safety_stops"),), guardrails=Guardrails(max_safety_stops=1000))
    assert judged(document, lambda item: replace(item, safety_stops=1))[2].kind == "promote"
    stopping = judged(document, lambda item: replace(item, safety_stops=3 * int(item.arm == "B")))[2]
    assert (stopping.kind, "help" in stopping.reason) == ("rollback", True)


def test_a_measure_that_nobody_brings_holds_the_promotion_back() -> None:
    _, _, verdict = judged(plan(watch=(replace(LATE, metric="latancy_ms"),)), measured(latency_ms=30.0))
    assert verdict.kind == "hold"
    assert "0 of 6 episodes with latancy_ms" in verdict.reason


def test_values_beyond_the_greatest_count_as_the_greatest() -> None:
    document = plan(watch=(LATE,))
    found = [judged(document, measured(latency_ms=value))[0].watched["late"] for value in (200.0, 1e9)]
    assert found[0] == found[1]


def test_events_are_weighed_by_the_hours_in_which_they_could_have_come() -> None:
    document = plan(watch=(HELP,))

    def helped(longer: float) -> Callable[[Outcome], Outcome]:
        return lambda item: replace(
            item,
            interventions=2 if item.arm == "B" else 1,
            duration_s=20.0 * longer if item.arm == "B" else 20.0,
        )

    twice = judged(document, helped(1.0))[0].watched["help"]
    assert (twice.n, twice.low, twice.high) == (120, 80, 40)
    assert twice.log_e > 3.0
    assert judged(document, helped(2.0))[0].watched["help"].log_e < 0
    tolerant = plan(watch=(Guardrail(name="help", metric="interventions", limit=2.0),))
    assert judged(tolerant, helped(1.0))[0].watched["help"].log_e < 0


def test_rare_events_that_all_fall_on_the_candidate_are_seen() -> None:
    lenient = replace(plan().guardrails, harm_alpha=1e-12)
    document, random = plan(watch=(HELP,), guardrails=lenient, minimum=MinimumEvidence(episodes=6)), Random(3)
    _, _, verdict = judged(document, lambda o: replace(o, interventions=int(o.arm == "B" and random.random() < 0.4)))
    assert (verdict.kind, verdict.reason) == ("rollback", "guardrail help is broken")


def test_equal_event_rates_are_rarely_broken_however_often_one_looks() -> None:
    document, alarms = plan(watch=(replace(HELP, alpha=0.05),)), 0
    for seed in range(80):
        random, evidence, worst = Random(seed), Evidence.of(document), -math.inf
        for counter in range(120):
            item = outcome(document, "r", "t", counter, interventions=int(random.random() < 0.3))
            evidence = evidence.extended([item])
            worst = max(worst, weigh(evidence).watched["help"].log_e)
        alarms += worst >= math.log(20)
    assert alarms <= 8


@pytest.mark.parametrize(
    ("claims", "believed"),
    [
        ([], ()),
        ([("a", math.log(99), 0.01)], ()),
        ([("a", math.log(101), 0.01)], ("a",)),
        ([("a", math.log(51), 0.01), ("b", math.log(51), 0.01)], ("a", "b")),
        ([("a", math.log(51), 0.01), ("b", math.log(49), 0.01)], ()),
        ([("a", math.log(11), 0.1), ("b", math.log(9), 0.01)], ("a",)),
        ([("a", math.log(34), 0.01), ("b", math.log(35), 0.01), ("c", math.log(1000), 0.01)], ("c", "b", "a")),
    ],
)
def test_many_guardrails_are_believed_together(
    claims: list[tuple[str, float, float]], believed: tuple[str, ...]
) -> None:
    assert tripped(claims) == believed


@pytest.mark.parametrize(
    "wrong",
    [
        (replace(HELP, limit=0.5),),
        (replace(HELP, direction="below"),),
        (replace(HELP, metric="safety_stops", limit=0.5),),
        (replace(LATE, limit=200.0),),
        (replace(LATE, limit=0.0),),
        (replace(LATE, alpha=0.0),),
        (replace(LATE, name="a b"),),
        (LATE, LATE),
    ],
)
def test_a_guardrail_that_makes_no_sense_is_refused(wrong: tuple[Guardrail, ...]) -> None:
    with pytest.raises(RolloutError, match="guardrail"):
        plan(watch=wrong)
