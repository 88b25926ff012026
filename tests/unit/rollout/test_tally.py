"""Sums that are kept are those that would be made anew: in any order, through late uploads, repeats and corrections."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.fleet import outcome, plan, shadow
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrail
from volano.rollout.outcome import Outcome, Stopped, merge, merge_shadow
from volano.rollout.paths import paths
from volano.rollout.tally import Sums, combine, sums_of
from volano.rollout.weights import weigh

WATCH = (
    Guardrail(name="help", metric="interventions", limit=1.0),
    Guardrail(name="late", metric="latency_ms", limit=50.0, most=200.0),
    Guardrail(name="grip", metric="grip", limit=0.5, direction="below"),
)
PLAN = plan(watch=WATCH)


def records(seed: int, number: int) -> list[Outcome]:
    """Outcomes of three robots, some missing, some wrong, some twice with other words."""
    random = Random(seed)
    found = []
    for _ in range(number):
        item = outcome(PLAN, f"r{random.randrange(3)}", random.choice("tu"), random.randrange(9))
        found.append(
            replace(
                item,
                site=f"site-{item.robot}",
                success=random.choice([True, False, None]),
                policy=random.choice([item.policy] * 4 + [""]),
                episode=random.choice([item.episode] * 5 + [item.episode[::-1]]),
                interventions=random.choice([0, 0, 1, 3]),
                safety_stops=random.choice([0, 0, 0, 1]),
                duration_s=random.choice([0.0, 12.3, 7.1]),
                measures=random.choice([{}, {"latency_ms": random.uniform(0, 300)}, {"grip": random.random()}]),
            )
        )
    return found


def anew(evidence: Evidence) -> Sums:
    """Every block's sums added up from the start, robots and sites counted one by one."""
    sums: Sums = {}
    blocks = list(evidence.ordered())
    for block in blocks:
        combine(sums, sums_of(evidence.document, block))
    labelled = [block.b for block in blocks if block.b is not None and block.b.success is not None]
    for kind, names in (("robots", {o.robot for o in labelled}), ("sites", {o.site for o in labelled})):
        if names:
            sums[kind] = (len(names),)
    return sums


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.randoms(use_true_random=False))
def test_sums_that_are_kept_are_those_made_anew(seed: int, number: int, random: Random) -> None:
    found = records(seed, number)
    one_by_one = reduce(lambda evidence, item: evidence.extended([item]), found, Evidence.of(PLAN))
    assert one_by_one.sums == anew(one_by_one)
    shuffled = random.sample([*found, *found], 2 * len(found))
    again = Evidence.of(PLAN).extended(shuffled[: len(found)]).extended(shuffled[len(found) :])
    assert again == one_by_one
    assert (again.digest, weigh(again)) == (one_by_one.digest, weigh(one_by_one))
    assert all(again.knows(item) for item in found)


def test_a_correction_leaves_no_trace_of_what_it_replaces() -> None:
    first = outcome(PLAN, "r", "t", 0, success=None, policy="", duration_s=0.0, measures={})
    second = outcome(PLAN, "r", "t", 0, success=True, interventions=2, measures={"latency_ms": 70.0})
    late = Evidence.of(PLAN).extended([first]).extended([second])
    assert merge(first, second) == second
    assert late == Evidence.of(PLAN).extended([second])
    assert late.digest != Evidence.of(PLAN).extended([first]).digest
    assert not late.knows(replace(second, episode="another"))


def test_what_is_known_by_sums_is_the_end_of_the_path() -> None:
    evidence = Evidence.of(PLAN).extended(records(5, 300))
    weights, found = weigh(evidence), paths(evidence)
    for name in ("superiority", "noninferiority", "harm", "floor", "interventions", "sample_ratio"):
        values: Sequence[float] = getattr(found, name)
        assert getattr(weights, name) == pytest.approx(values[-1], abs=2e-8), name


def test_shadows_are_summed_and_the_worse_record_of_one_stands() -> None:
    better, worse = shadow(1, late=1), replace(shadow(1, late=5), distance=1.25, clamped=0.5, latency_s=0.3)
    found = [Evidence.of(PLAN).extended((), order) for order in ((better, worse), (worse, better, better))]
    assert found[0] == found[1]
    counts = weigh(found[0]).counts
    assert (counts.shadowed, counts.answers, counts.late) == (1, 10, 5)
    assert (counts.distance, counts.clamped, counts.shadow_ms) == (0.25, 0.1, 30.0)


def test_stops_of_an_episode_are_counted_once_and_the_greater_number_stands() -> None:
    fewer, more, other = (Stopped(episode=name, safety_stops=stops) for name, stops in (("a", 1), ("a", 3), ("b", 1)))
    found = [
        Evidence.of(PLAN).extended((), (), order)
        for order in ((fewer, more, other), (other, more, fewer, more), (more, other))
    ]
    assert found[0] == found[1] == found[2]
    assert weigh(found[0]).counts.safety_stops == 4
    assert all(found[0].knows(item) for item in (fewer, more, other))
    assert not Evidence.of(PLAN).extended((), (), [fewer]).knows(more)
    assert len({evidence.digest for evidence in (found[0], Evidence.of(PLAN).extended((), (), [more]))}) == 2


def test_an_older_evidence_is_not_changed_by_a_newer_one() -> None:
    older = Evidence.of(PLAN).extended(records(1, 30))
    before = (older.digest, weigh(older), dict(older.sums))
    older.extended(records(2, 30), [shadow(1)])
    assert (older.digest, weigh(older), dict(older.sums)) == before


def test_of_two_equally_good_records_of_a_shadow_the_longer_stands() -> None:
    shorter, longer = (replace(shadow(1, answers=number), distance=float(number)) for number in (9, 10))
    assert merge_shadow(shorter, longer) == merge_shadow(longer, shorter) == longer
    assert weigh(Evidence.of(PLAN).extended((), (shorter, longer))).counts.answers == 10


@pytest.mark.parametrize(("first", "returns"), [("A", True), ("B", True), ("B", False)])
def test_a_robot_that_never_comes_back_from_the_candidate_is_no_good_news(first: str, returns: bool) -> None:
    """Of 20 robots in their first block, the episode under the candidate was lost, whether another came before it or
    the robot could not go on to the next."""
    found: list[Outcome] = []
    lost: list[Outcome] = []
    for number in range(200):
        pair = [outcome(PLAN, f"r{number}", "t", counter) for counter in (0, 1)]
        if pair[0].arm == first and len(lost) < 20:
            lost.append(
                replace(next(item for item in pair if item.arm == "B"), success=None, policy="", duration_s=0.0)
            )
            found += [item for item in pair if item.arm == "A" and returns]
    waiting = weigh(Evidence.of(PLAN).extended(found))
    assert (waiting.counts.blocks, waiting.sample_ratio) == (0, 0.0)
    settled = Evidence.of(PLAN).extended([*found, *lost])
    weights, way = weigh(settled), paths(settled)
    assert weights.counts.blocks == (20 if returns else 0)
    assert (weights.superiority < -1.0) is returns
    assert weights.sample_ratio > 3.0
    assert way.sample_ratio[-1] == pytest.approx(weights.sample_ratio, abs=2e-8)
    arrived = [replace(item, success=True, policy=PLAN.candidate, duration_s=20.0) for item in lost]
    assert weigh(Evidence.of(PLAN).extended([*found, *lost, *arrived])).sample_ratio == 0.0
