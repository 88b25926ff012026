"""Evidence is a set, missing labels count against the candidate, and what was not planned is no evidence."""

import json
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CANDIDATE, CURRENT, fleet, outcome, plan, shadow
from volano.errors import Code, RolloutError
from volano.rollout.evidence import Evidence, update
from volano.rollout.guardrail import Guardrails
from volano.rollout.outcome import Outcome, ShadowOutcome, merge
from volano.rollout.paths import paths
from volano.rollout.weights import weigh

PLAN = plan()
EPISODES = list(islice(fleet(PLAN, Random(3), lambda _r, _t, arm: 0.7 if arm == "B" else 0.4), 90))


@settings(max_examples=30, deadline=None)
@given(st.permutations(EPISODES[:40]), st.lists(st.sampled_from(EPISODES[:40]), max_size=20))
def test_order_and_repeats_change_nothing(shuffled: list[Outcome], repeated: list[Outcome]) -> None:
    expected = Evidence.of(PLAN).extended(EPISODES[:40])
    evidence = Evidence.of(PLAN)
    for item in [*repeated, *shuffled, *repeated]:
        evidence = update(evidence, item)
    assert evidence.digest == expected.digest
    assert weigh(evidence) == weigh(expected)


@given(st.booleans() | st.none(), st.booleans() | st.none(), st.integers(0, 1), st.integers(0, 2))
def test_two_records_of_one_episode_merge_the_same_way_round(
    first: bool | None, second: bool | None, counter: int, stops: int
) -> None:
    one = outcome(PLAN, "r", "t", counter, first)
    two = outcome(PLAN, "r", "t", counter, second, safety_stops=stops)
    assert merge(one, two) == merge(two, one)
    if first is not None:
        assert merge(one, outcome(PLAN, "r", "t", counter, None)) == one


def test_a_better_candidate_gathers_evidence_and_no_harm() -> None:
    weights = weigh(Evidence.of(PLAN).extended(EPISODES))
    assert weights.superiority > 2.0 > 0.0 > weights.harm
    assert weights.noninferiority > weights.superiority
    assert len(paths(Evidence.of(PLAN).extended(EPISODES)).superiority) == weights.counts.blocks
    assert weights.counts.blocks == weights.counts.complete
    assert weights.counts.current_episodes + weights.counts.candidate_episodes == 90


@pytest.mark.parametrize("missing", ["A", "B"])
def test_a_missing_label_counts_against_the_candidate(missing: str) -> None:
    found = [outcome(PLAN, "r", "t", counter, True) for counter in range(20)]
    blank = [replace(item, success=None) if item.arm == missing else item for item in found]
    blank = [replace(item, success=False) if item.arm == "A" else item for item in blank] if missing == "B" else blank
    labelled, unlabelled = weigh(Evidence.of(PLAN).extended(found)), weigh(Evidence.of(PLAN).extended(blank))
    assert labelled.superiority == 0.0
    assert unlabelled.superiority <= 0.0
    assert unlabelled.counts.complete == 0


def test_an_episode_that_never_arrived_counts_against_promotion_and_is_no_harm() -> None:
    found = [outcome(PLAN, "r", "t", counter, True) for counter in range(20)]
    arrived = [item for item in found if item.arm == "A"]
    weights = weigh(Evidence.of(PLAN).extended(arrived))
    assert weights.superiority < -1.0
    assert weights.harm == 0.0
    assert weights.sample_ratio > 1.0
    late = weigh(Evidence.of(PLAN).extended(arrived).extended(found))
    assert late == weigh(Evidence.of(PLAN).extended(found))
    assert late.superiority == 0.0


def test_harm_is_seen_and_not_presumed() -> None:
    found = [outcome(PLAN, "r", "t", counter, False) for counter in range(40)]
    unknown = [replace(item, success=None) if item.arm == "A" else item for item in found]
    assert weigh(Evidence.of(PLAN).extended(unknown)).harm == 0.0
    silent = [replace(item, success=item.arm == "A" or None) for item in found]
    assert weigh(Evidence.of(PLAN).extended(silent)).harm > 5.0


def test_the_floor_bets_all_it_may() -> None:
    document = plan(guardrails=Guardrails(floor=0.75))
    candidates = [item for item in (outcome(document, "r", "t", c, False) for c in range(20)) if item.arm == "B"]
    assert weigh(Evidence.of(document).extended(candidates)).floor > 8.0
    assert weigh(Evidence.of(PLAN).extended(candidates)).floor == 0.0


def test_of_two_episodes_with_one_number_the_same_counts_in_any_order() -> None:
    found = [outcome(PLAN, "r", "t", counter, True) for counter in (0, 1)]
    twins = [replace(item, episode=item.episode[::-1], success=False) for item in found]
    forward = weigh(Evidence.of(PLAN).extended([*found, *twins]))
    assert forward == weigh(Evidence.of(PLAN).extended([*twins, *found]))
    assert (forward.counts.repeated, forward.counts.blocks) == (2, 1)


def test_the_open_block_waits() -> None:
    assert weigh(Evidence.of(PLAN).extended([outcome(PLAN, "r", "t", 0)])).counts.blocks == 0
    assert (
        weigh(Evidence.of(PLAN).extended([outcome(PLAN, "r", "t", 0), outcome(PLAN, "r", "t", 1)])).counts.blocks == 1
    )


def test_unplanned_outcomes_are_set_aside() -> None:
    good = outcome(PLAN, "r", "t", 0)
    flipped = replace(good, arm="A" if good.arm == "B" else "B", episode="x")
    fallback = replace(good, policy=CURRENT if good.policy == CANDIDATE else CANDIDATE, episode="y")
    again = replace(good, episode="0" * 64)
    counts = weigh(Evidence.of(PLAN).extended([good, flipped, fallback, again])).counts
    assert (counts.set_aside, counts.repeated) == (2, 1)
    assert counts.candidate_episodes + counts.current_episodes == 1


def _driven(rate_a: int, rate_b: int, duration_b: float = 20.0, blocks: int = 30) -> float:
    found = []
    for counter in range(2 * blocks):
        item = outcome(PLAN, "r", "t", counter)
        events = rate_b if item.arm == "B" else rate_a
        duration_s = duration_b if item.arm == "B" else 20.0
        found.append(replace(item, interventions=events, autonomous=not events, duration_s=duration_s))
    return weigh(Evidence.of(PLAN).extended(found)).interventions


def test_interventions_are_compared_by_rate() -> None:
    assert _driven(0, 0) == 0.0
    assert _driven(0, 1) > 10.0
    assert _driven(1, 2) > 2.0
    assert _driven(1, 1) == pytest.approx(0.0)
    assert _driven(1, 2, duration_b=40.0) == pytest.approx(0.0)
    assert _driven(2, 1) < 0.0


def test_clustered_interventions_are_no_proof_of_harm() -> None:
    """Alike arms whose interventions come five at a time: a false alarm stays as rare as promised."""
    alarms = 0
    for seed in range(150):
        random = Random(seed)
        found = [
            replace(outcome(PLAN, "r", "t", counter), interventions=5 if random.random() < 0.3 else 0)
            for counter in range(100)
        ]
        values = paths(Evidence.of(PLAN).extended(found)).interventions
        alarms += max(values, default=0.0) >= 3.0
    assert alarms <= 0.05 * 150 + 3


def test_outcomes_survive_their_json_and_refuse_the_rest() -> None:
    item = outcome(PLAN, "r", "t", 3, None, interventions=2)
    assert Outcome.from_json(json.loads(json.dumps(item.to_json()))) == item
    assert ShadowOutcome.from_json(shadow(1).to_json()) == shadow(1)
    data = item.to_json()
    wrongs: list[dict[str, object]] = [
        {"success": 1},
        {"arm": "C"},
        {"counter": -1},
        {"counter": 10**9},
        {"duration_s": float("nan")},
        {"duration_s": -1.0},
        {"interventions": True},
        {"robot": None},
        {"extra": 1},
    ]
    for wrong in wrongs:
        with pytest.raises(RolloutError) as error:
            Outcome.from_json({**data, **wrong})
        assert error.value.code == Code.ROLLOUT_EVIDENCE
