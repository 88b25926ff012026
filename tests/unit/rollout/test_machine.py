"""The judge never ships without evidence, always stops on harm, and says the same again when asked again."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.fleet import CANDIDATE, TESTING, fleet, outcome, plan, shadow
from volano.errors import Code, RolloutError
from volano.rollout.evidence import Evidence
from volano.rollout.guardrail import Guardrails
from volano.rollout.machine import Slice, Verdict, begin, decide, replay, step
from volano.rollout.outcome import Outcome, ShadowOutcome
from volano.rollout.plan import ABTestStep, HoldStep, MinimumEvidence, Rollout
from volano.rollout.state import (
    ABTest,
    Canary,
    NeedsHuman,
    Promoted,
    RolledBack,
    Shadow,
    State,
    state_from_json,
    state_to_json,
)
from volano.rollout.weights import weigh

STATES: list[State] = [
    Shadow(step=0, since=1.0),
    Canary(step=1, since=1.0),
    ABTest(step=2, since=1.0),
    Promoted(since=1.0, reason="superior"),
    RolledBack(since=1.0, reason="harm"),
    NeedsHuman(since=1.0, reason="no evidence"),
]


def _run(
    document: Rollout, outcomes: Iterator[Outcome], state: State = TESTING, most: int = 300
) -> tuple[State, Verdict]:
    """Judge after every episode until the state changes."""
    evidence, verdict = Evidence.of(document), None
    for item in islice(outcomes, most):
        evidence = evidence.extended([item])
        after, verdict = step(document, state, evidence, 0.0)
        if after != state:
            return after, verdict
    assert verdict is not None
    return state, verdict


@pytest.mark.parametrize("state", STATES)
def test_no_data_is_a_hold_in_every_state(state: State) -> None:
    after, verdict = step(plan(), state, Evidence.of(plan()), 10.0)
    assert after == state
    assert verdict.kind == "hold"
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state


@pytest.mark.parametrize("state", STATES[:3])
def test_no_data_for_too_long_asks_a_human(state: State) -> None:
    document = plan(patience_s=100.0)
    assert step(document, state, Evidence.of(document), 101.0)[1].kind == "hold"
    after, verdict = step(document, state, Evidence.of(document), 101.5)
    assert isinstance(after, NeedsHuman)
    assert verdict.kind == "need_human"


def test_a_better_candidate_goes_all_the_way() -> None:
    document = plan(allow=("robot-0", "robot-1"))
    state: State = begin(document, 0.0)
    evidence = Evidence.of(document)
    kinds = []
    evidence = evidence.extended((), [shadow(number) for number in range(3)])
    episodes = fleet(document, Random(1), lambda _r, _t, arm: 0.9 if arm == "B" else 0.3)
    for number in range(200):
        state, verdict = step(document, state, evidence, float(number))
        kinds.append(verdict.kind)
        if isinstance(state, Promoted):
            break
        if not isinstance(state, Shadow):
            evidence = evidence.extended([next(episodes)])
    assert [kind for kind in kinds if kind != "hold"] == ["advance", "advance", "promote"]
    assert verdict.numbers["log_e_superiority"] >= verdict.numbers["log_e_superiority_needed"]
    assert verdict.reason.startswith("superior after")


def test_a_worse_candidate_is_rolled_back_in_the_canary() -> None:
    document = plan()
    after, verdict = _run(
        document, fleet(document, Random(2), lambda _r, _t, arm: 0.1 if arm == "B" else 0.8), STATES[1]
    )
    assert isinstance(after, RolledBack | ABTest)
    after, verdict = _run(document, fleet(document, Random(2), lambda _r, _t, arm: 0.1 if arm == "B" else 0.8))
    assert isinstance(after, RolledBack)
    assert verdict.kind == "rollback"


def test_a_test_without_evidence_never_ships() -> None:
    document = plan(margin=0.0, steps=(ABTestStep(min_blocks=2, max_blocks=20),))
    ends = [
        _run(document, fleet(document, Random(seed), lambda _r, _t, _arm: 0.5), ABTest(step=0, since=0.0))[0]
        for seed in range(12)
    ]
    assert sum(isinstance(end, NeedsHuman) for end in ends) >= 10
    assert not any(isinstance(end, ABTest) for end in ends)


def _alternating(document: Rollout, blocks: int, lost: int) -> list[Outcome]:
    """Pairs of which the first `lost` are won by the current policy, all others alike."""
    return [
        outcome(document, f"r{block % 4}", "t", 2 * (block // 4) + position, success=True)
        if block >= lost
        else _won_by_current(document, block, position)
        for block in range(blocks)
        for position in (0, 1)
    ]


def _won_by_current(document: Rollout, block: int, position: int) -> Outcome:
    item = outcome(document, f"r{block % 4}", "t", 2 * (block // 4) + position)
    return replace(item, success=item.arm == "A")


def test_an_equal_candidate_ships_only_as_non_inferior_and_only_at_the_end() -> None:
    steps = (ABTestStep(min_blocks=5, max_blocks=80),)
    state = ABTest(step=0, since=0.0)
    for margin, blocks, expected in ((0.1, 79, ABTest), (0.1, 80, Promoted), (0.0, 80, NeedsHuman)):
        document = plan(margin=margin, steps=steps)
        after, verdict = step(document, state, Evidence.of(document).extended(_alternating(document, blocks, 0)), 0.0)
        assert isinstance(after, expected), verdict
    document = plan(steps=steps)
    after, _ = step(document, state, Evidence.of(document).extended(_alternating(document, 80, 5)), 0.0)
    assert isinstance(after, NeedsHuman)


@pytest.mark.parametrize(("missing", "expected"), [(16, Promoted), (17, NeedsHuman)])
def test_where_more_than_a_fifth_of_the_pairs_lacks_a_label_a_human_decides(
    missing: int, expected: type[State]
) -> None:
    """However good the others look: of 80 pairs, all won by the candidate but those whose label never came."""
    document = plan(steps=(ABTestStep(min_blocks=5, max_blocks=80),))
    pairs = [
        outcome(document, f"r{block % 4}", "t", 2 * (block // 4) + position)
        for block in range(80)
        for position in (0, 1)
    ]
    labelled = [
        replace(one, success=None if one.arm == "B" and number < 2 * missing else one.arm == "B")
        for number, one in enumerate(pairs)
    ]
    after, verdict = step(document, ABTest(step=0, since=0.0), Evidence.of(document).extended(labelled), 0.0)
    assert isinstance(after, expected), verdict
    if expected is NeedsHuman:
        assert "63 of 64 complete pairs" in verdict.reason


@pytest.mark.parametrize(("awaited", "expected"), [(5, Promoted), (6, ABTest)])
def test_a_promotion_waits_where_the_candidates_episodes_have_yet_to_come(awaited: int, expected: type[State]) -> None:
    """Twenty pairs won by the candidate, and beside them robots of which only the current policy's episode came: those
    of the candidate that failed may be the ones that come late."""
    document = plan(steps=(ABTestStep(min_blocks=5, max_blocks=80),))
    names = [f"r{number}" for number in range(60)]
    pairs = [[outcome(document, name, "t", position) for position in (0, 1)] for name in names]
    won = [replace(one, success=one.arm == "B") for pair in pairs[:20] for one in pair]
    halves = [one for pair in pairs[20:] for one in pair[:1] if one.arm == "A"][:awaited]
    assert len(halves) == awaited
    evidence = Evidence.of(document).extended([*won, *halves])
    after, verdict = step(document, ABTest(step=0, since=0.0), evidence, 0.0)
    assert isinstance(after, expected), verdict
    if expected is ABTest:
        assert verdict.reason == "superior after 20 pairs, but the candidate's episodes of 6 more are awaited"
        later, _ = step(document, ABTest(step=0, since=0.0), evidence, document.patience_s + 1.0)
        assert isinstance(later, NeedsHuman)
    astray = [replace(pair[1], policy="") for pair in pairs[20:] if pair[0] in halves]  # their robots say: none came
    assert weigh(evidence.extended(astray)).counts.awaited == 0
    came = [replace(pair[1], success=True) for pair in pairs[20:] if pair[0] in halves]
    after, verdict = step(document, ABTest(step=0, since=0.0), evidence.extended(came), 0.0)
    assert isinstance(after, Promoted), verdict


@pytest.mark.parametrize("state", STATES[:4] + STATES[5:])
def test_a_safety_stop_ends_it_at_once(state: State) -> None:
    document = plan()
    items = [outcome(document, "r", "t", counter, safety_stops=1) for counter in (0, 1)]
    under_candidate = next(item for item in items if item.policy == CANDIDATE)
    under_current = next(item for item in items if item.policy != CANDIDATE)
    assert step(document, state, Evidence.of(document).extended([under_current]), 2.0)[1].kind == "hold"
    after, verdict = step(document, state, Evidence.of(document).extended([under_candidate]), 2.0)
    assert isinstance(after, RolledBack)
    assert verdict.kind == "rollback"
    tolerant = plan(guardrails=Guardrails(max_safety_stops=1))
    assert step(tolerant, state, Evidence.of(tolerant).extended([under_candidate]), 2.0)[1].kind == "hold"


def test_a_candidate_below_the_floor_stops_even_if_the_current_policy_is_no_better() -> None:
    document = plan(guardrails=Guardrails(floor=0.75))
    after, verdict = _run(document, fleet(document, Random(5), lambda _r, _t, _arm: 0.3))
    assert isinstance(after, RolledBack)
    assert "floor" in verdict.reason


def test_harm_in_one_task_is_not_hidden_by_gains_in_another() -> None:
    document = plan()
    rates = {("push", "A"): 0.95, ("push", "B"): 0.05, ("reach", "A"): 0.05, ("reach", "B"): 0.95}
    found = islice(fleet(document, Random(6), lambda _r, task, arm: rates[task, arm]), 80)
    after, verdict = step(document, TESTING, Evidence.of(document).extended(found), 0.0)
    assert isinstance(after, RolledBack)
    assert "'push'" in verdict.reason


def test_shadow_may_veto_and_never_promotes() -> None:
    document, state = plan(), STATES[0]
    clean = [shadow(number) for number in range(500)]
    assert isinstance(step(document, state, Evidence.of(document).extended((), clean), 2.0)[0], Canary)
    assert step(document, state, Evidence.of(document).extended((), clean[:2]), 2.0)[1].kind == "hold"
    silent = [shadow(number, answers=0) for number in range(9)]
    assert step(document, state, Evidence.of(document).extended((), silent), 2.0)[1].kind == "hold"
    for bad in ([shadow(0, invalid=1)], [shadow(number, late=5) for number in range(3)]):
        assert isinstance(step(document, state, Evidence.of(document).extended((), bad), 2.0)[0], RolledBack)


# What other tools passed, and must not pass here.


@pytest.mark.parametrize("state", STATES[:3])
def test_data_that_stop_do_not_advance(state: State) -> None:
    document = plan()
    sparse = [outcome(document, "r", "t", 0)]
    assert step(document, state, Evidence.of(document).extended(sparse, [shadow(0)]), 1e5)[1].kind == "hold"


def test_sparse_data_are_no_verdict() -> None:
    document = plan(minimum=MinimumEvidence(episodes=6, robots=2))
    for rate in (0.0, 1.0):
        few = [
            replace(item, success=(item.arm == "B") == bool(rate))
            for item in (outcome(document, "r", "t", c) for c in range(10))
        ]
        assert step(document, TESTING, Evidence.of(document).extended(few), 2.0)[1].kind == "hold"
    lonely = [replace(item, success=item.arm == "B") for item in (outcome(document, "r", "t", c) for c in range(100))]
    after, verdict = step(document, TESTING, Evidence.of(document).extended(lonely), 2.0)
    assert (after, verdict.kind, "1 of 2 robots" in verdict.reason) == (TESTING, "hold", True)


def test_a_rollback_too_needs_its_minimum() -> None:
    losing = [replace(item, success=item.arm == "A") for item in (outcome(plan(), "r", "t", c) for c in range(40))]
    for episodes, kind in ((20, "rollback"), (21, "hold")):
        document = plan(minimum=MinimumEvidence(episodes=episodes))
        assert step(document, TESTING, Evidence.of(document).extended(losing), 2.0)[1].kind == kind


def test_a_verdict_names_every_input() -> None:
    nothing, strict = Evidence.of(plan()), plan(alpha=0.01)
    evidence = nothing.extended([outcome(plan(), "r", "t", 0)])
    looks = [
        (plan(), TESTING, nothing, 2.0),
        (plan(), TESTING, evidence, 2.0),
        (plan(), TESTING, nothing.extended((), [shadow(1)]), 2.0),
        (plan(), TESTING, evidence, 3.0),
        (plan(), STATES[1], evidence, 2.0),
        (strict, TESTING, Evidence.of(strict).extended([outcome(strict, "r", "t", 0)]), 2.0),
    ]
    assert len({step(*look)[1].inputs for look in looks}) == len(looks)
    with pytest.raises(RolloutError, match="another document"):
        step(strict, TESTING, evidence, 2.0)


def test_a_zero_baseline_does_not_hide_errors() -> None:
    document = plan()
    found = [
        replace(item, interventions=1 if item.arm == "B" else 0, autonomous=item.arm == "A")
        for item in (outcome(document, f"r{robot}", "t", c) for robot in range(3) for c in range(10))
    ]
    after, verdict = step(document, TESTING, Evidence.of(document).extended(found), 2.0)
    assert isinstance(after, RolledBack)
    assert "interventions" in verdict.reason


def test_a_wrong_metric_never_promotes() -> None:
    """Labels that nobody wrote, arms that nobody planned, policies that nobody compared."""
    document = plan()
    planned = [outcome(document, f"r{robot}", "t", c) for robot in range(6) for c in range(60)]
    wrongs = {
        "no label": [replace(item, success=None) for item in planned],
        "one arm labelled": [replace(item, success=True if item.arm == "B" else None) for item in planned],
        "other policy": [replace(item, policy="e" * 64, success=item.arm == "B") for item in planned],
        "arms swapped": [replace(item, arm="A" if item.arm == "B" else "B", success=True) for item in planned],
        "one arm lost": [replace(item, success=True) for item in planned if item.arm == "B"],
        "losers lost": [item for item in planned if not (item.arm == "B" and item.counter % 3)],
    }
    for name, found in wrongs.items():
        _, verdict = step(document, TESTING, Evidence.of(document).extended(found), 2.0)
        assert verdict.kind in ("hold", "need_human", "rollback"), name


def test_lost_uploads_of_one_arm_ask_a_human() -> None:
    document = plan(steps=(ABTestStep(min_blocks=5, max_blocks=500),))
    found = [outcome(document, f"r{robot}", "t", c) for robot in range(6) for c in range(20)]
    kept = [item for item in found if item.arm == "A" or item.counter % 3]
    after, verdict = step(document, ABTest(step=0, since=0.0), Evidence.of(document).extended(kept), 2.0)
    assert isinstance(after, NeedsHuman)
    assert "missing" in verdict.reason


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(STATES[:3]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from([True, False, None])), max_size=40),
)
def test_nothing_is_promoted_below_the_minimum(state: State, draws: list[tuple[int, int, bool | None]]) -> None:
    document = plan(minimum=MinimumEvidence(episodes=16, robots=3))
    found = [outcome(document, f"r{robot}", "t", counter, success) for robot, counter, success in draws]
    after, _ = step(document, state, Evidence.of(document).extended(found), 2.0)
    assert not isinstance(after, Promoted)


def test_replay_is_identical_and_inputs_are_told_apart() -> None:
    document = plan(allow=("robot-0", "robot-1"))
    episodes = list(islice(fleet(document, Random(4), lambda _r, _t, arm: 0.8 if arm == "B" else 0.4), 120))
    slices = [Slice(now=1.0, shadows=tuple(shadow(number) for number in range(3)))]
    slices += [Slice(now=2.0 + number, outcomes=(episodes[number],)) for number in range(120)]
    first = replay(document, 0.0, slices)
    stored = [
        Slice(now=s.now, outcomes=tuple(Outcome.from_json(o.to_json()) for o in s.outcomes), shadows=s.shadows)
        for s in slices
    ]
    again = replay(Rollout.from_json(json.loads(json.dumps(document.to_json()))), 0.0, stored)
    assert json.dumps([v.to_json() for v in again]) == json.dumps([v.to_json() for v in first])
    assert [Verdict.from_json(json.loads(json.dumps(v.to_json()))) for v in first] == first
    assert len({verdict.inputs for verdict in first}) == len(first)
    assert first[-1].numbers["blocks"] > 40


def test_a_pause_ends_by_itself_or_by_a_person_and_harm_ends_it_at_once() -> None:
    test = ABTestStep(min_blocks=5, max_blocks=80)
    timed = plan(steps=(HoldStep(seconds=50.0), test), patience_s=10.0)
    state = begin(timed, 0.0)
    assert step(timed, state, Evidence.of(timed), 49.0)[1].kind == "hold"
    assert isinstance(step(timed, state, Evidence.of(timed), 50.0)[0], ABTest)
    waiting = plan(steps=(HoldStep(seconds=0.0), test), patience_s=10.0)
    assert step(waiting, state, Evidence.of(waiting), 1e9)[1].kind == "hold"
    after, verdict = decide(waiting, state, Evidence.of(waiting), "resume", "ada", 60.0)
    assert (after, verdict.kind, verdict.reason) == (ABTest(step=1, since=60.0), "advance", "ada decided to resume")
    with pytest.raises(RolloutError):
        decide(waiting, after, Evidence.of(waiting), "resume", "ada", 61.0)
    stop = next(one for one in (outcome(waiting, "r", "t", c, safety_stops=1) for c in (0, 1)) if one.arm == "B")
    assert isinstance(step(waiting, state, Evidence.of(waiting).extended([stop]), 2.0)[0], RolledBack)


def test_a_promotion_that_a_person_makes_is_shown_to_one() -> None:
    document = plan(promotion="person", minimum=MinimumEvidence(episodes=4, robots=1))
    won = [replace(item, success=item.arm == "B") for item in (outcome(document, "r", "t", c) for c in range(40))]
    after, verdict = step(document, TESTING, Evidence.of(document).extended(won), 2.0)
    assert (verdict.kind, verdict.reason) == ("need_human", "superior after 20 pairs")
    assert isinstance(decide(document, after, Evidence.of(document), "promote", "ada", 3.0)[0], Promoted)


def test_a_promotion_needs_its_sites() -> None:
    document = plan(minimum=MinimumEvidence(episodes=4, robots=1, sites=2))
    won = [replace(item, success=item.arm == "B") for item in (outcome(document, "r", "t", c) for c in range(40))]
    for other, kind in (("hall", "hold"), ("yard", "promote")):
        found = [replace(item, site="hall" if item.counter < 20 else other) for item in won]
        assert step(document, TESTING, Evidence.of(document).extended(found), 2.0)[1].kind == kind


def _of_task(document: Rollout, task: str, pairs: int, winner: str) -> list[Outcome]:
    """Pairs of four robots in one task, all won by one arm."""
    found = (outcome(document, f"r{n % 4}", task, 2 * (n // 4) + position) for n in range(pairs) for position in (0, 1))
    return [replace(item, success=item.arm == winner) for item in found]


def test_a_promotion_waits_for_a_task_that_was_hardly_tried_or_looks_worse() -> None:
    document = plan()
    won = _of_task(document, "reach", 40, "B")
    for other, kind, said in (
        ([], "promote", "superior"),
        (_of_task(document, "push", 3, "B"), "hold", "3 of 4 pairs in the task"),
        (_of_task(document, "push", 4, "B"), "promote", "superior"),
        (_of_task(document, "push", 4, "A"), "hold", "looks worse at 'push'"),
    ):
        _, verdict = step(document, TESTING, Evidence.of(document).extended([*won, *other]), 2.0)
        assert (verdict.kind, said in verdict.reason) == (kind, True), verdict


def test_tasks_that_are_named_and_not_yet_seen_count_in_their_average() -> None:
    for tasks, share in (((), 1), (("push", "reach", "pick"), 3)):
        document = plan(tasks=tasks)
        evidence = Evidence.of(document).extended(_of_task(document, "push", 12, "A"))
        weights = weigh(evidence)
        expected = math.log((math.exp(weights.task_harm["push"]) + share - 1) / share)
        assert weights.mean_task_harm == pytest.approx(expected)


@pytest.mark.parametrize(
    ("guardrails", "acting"),
    [
        (Guardrails(max_shadow_distance=0.2), lambda one, total: replace(one, distance=total)),
        (Guardrails(max_shadow_clamped=0.2), lambda one, total: replace(one, clamped=total)),
    ],
)
def test_a_shadow_that_acts_far_away_or_at_its_limits_is_vetoed(
    guardrails: Guardrails, acting: Callable[[ShadowOutcome, float], ShadowOutcome]
) -> None:
    document = plan(guardrails=guardrails)
    for total, kind in ((1.9, "advance"), (2.1, "rollback")):
        shadows = [acting(shadow(number), total) for number in range(3)]
        assert step(document, STATES[0], Evidence.of(document).extended((), shadows), 2.0)[1].kind == kind


def test_a_human_decides_within_limits() -> None:
    document = plan()
    evidence = Evidence.of(document)
    assert isinstance(decide(document, STATES[5], evidence, "promote", "ada", 3.0)[0], Promoted)
    for state in STATES[:4]:
        after, verdict = decide(document, state, evidence, "rollback", "ada", 3.0)
        assert isinstance(after, RolledBack)
        assert verdict.reason == "ada decided to rollback"
        with pytest.raises(RolloutError):
            decide(document, state, evidence, "promote", "ada", 3.0)
    with pytest.raises(RolloutError):
        decide(document, STATES[4], evidence, "rollback", "ada", 3.0)


@pytest.mark.parametrize(
    "wrong", [None, {}, {"kind": "shipped"}, {"kind": "shadow", "step": -1, "since": 0}, {"kind": "promoted"}]
)
def test_foreign_states_are_refused(wrong: object) -> None:
    with pytest.raises(RolloutError) as error:
        state_from_json(wrong)
    assert error.value.code == Code.ROLLOUT_STATE


@pytest.mark.parametrize("state", [Canary(step=0, since=0.0), ABTest(step=9, since=0.0)])
def test_a_state_of_another_rollout_is_refused(state: State) -> None:
    with pytest.raises(RolloutError):
        step(plan(), state, Evidence.of(plan()), 1.0)
