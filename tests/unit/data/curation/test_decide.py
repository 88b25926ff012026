"""What becomes of attempts whose right treatment is known, and that nobody's order or rule can empty a task."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.bundles import ROVER
from tests.unit.data.curation.attempts import attempt, episode, seen_by, segments, two_cameras
from volano.config import load_json
from volano.data.curation.config import Curation, Duplicates, Idle, Weights
from volano.data.curation.decide import Episode, decide
from volano.data.curation.plan import Decision, Plan
from volano.data.episode import Outcome
from volano.errors import ConfigError, DataError

FAILED = Outcome(success=False, autonomous=True, source="script")
DEFAULT = Curation()
HELPED = Outcome(success=True, autonomous=False, source="script")
VARIED = [episode(f"attempt-{seed}", attempt(seed)) for seed in range(6)]
MIXED = [
    *VARIED,
    episode("copy", attempt(0)),
    episode("rover", attempt(1, robot=ROVER)),
    episode("rover-copy", attempt(1, robot=ROVER)),
    episode("helped", attempt(9), segments=segments((60, "autonomous"), (60, "intervention")), outcome=HELPED),
    replace(episode("failed", attempt(8)), features=None),
]


def by_name(episodes: list[Episode], config: Curation = DEFAULT) -> dict[str, Decision]:
    plan = decide(episodes, config)
    return {one.manifest.attempt: plan.decision(one.manifest.content_id) for one in episodes}


@pytest.mark.parametrize("what", ["the same", "begins later", "ends earlier", "another window", "pauses", "flickers"])
def test_a_near_duplicate_goes_and_its_original_stays(what: str) -> None:
    original, random = attempt(20, 130), np.random.default_rng(0)
    one = original[:120]
    copy = {
        "the same": one,
        "begins later": one[6:],
        "ends earlier": one[:-6],
        "another window": original[5:125],
        "pauses": one.held(50, 100),
        "flickers": replace(one, state=one.state + random.normal(0, 0.002, one.state.shape)),
    }[what]
    found = by_name([*VARIED, episode("original", one), episode("copy", copy)])
    gone = [name for name in ("original", "copy") if not found[name].keep]
    assert len(gone) == 1
    assert found[gone[0]].rule == "near duplicate"
    kept = "copy" if gone == ["original"] else "original"
    assert found[kept].content_id in found[gone[0]].reason
    assert all(found[one.manifest.attempt].keep for one in VARIED)


@pytest.mark.parametrize("mixed_up", [(), (3,), (0, 1, 2, 3)])
def test_episodes_with_two_cameras_exchanged_go(mixed_up: tuple[int, ...]) -> None:
    """Four of ten as well: a robot whose cables were mixed up for a day."""
    views = [two_cameras(seed) for seed in range(10)]
    episodes = [seen_by(f"attempt-{n}", *(views[n][::-1] if n in mixed_up else views[n])) for n in range(len(views))]
    found = by_name(episodes)
    gone = {name for name, one in found.items() if one.rule == "swapped cameras"}
    assert gone == {f"attempt-{n}" for n in mixed_up}
    assert all(not found[name].keep and "cameras 1 and 2" in found[name].reason for name in gone)
    assert all(found[name].scores["exchange_gain"] > 0.2 for name in gone)
    nobody = by_name(episodes, Curation(swapped_cameras=0.0))
    assert all(one.keep for one in nobody.values())


def test_of_two_halves_neither_is_called_exchanged() -> None:
    """Nor is anything where too few can say which camera is which."""
    views = [two_cameras(seed) for seed in range(10)]
    for number in (2, 4, 10):
        some = [seen_by(f"attempt-{n}", *views[n][:: 1 if n < number // 2 else -1]) for n in range(number)]
        assert all(one.keep for one in by_name(some).values())


def test_no_task_is_kept_by_an_episode_with_other_cameras() -> None:
    views = [two_cameras(seed) for seed in range(8)]
    some = [seen_by(f"attempt-{n}", *one) for n, one in enumerate(views[1:])]
    found = by_name([*some, seen_by("alone", *views[0][::-1])])
    alone = decide([*some, replace_task(seen_by("alone", *views[0][::-1]), "pull")], DEFAULT)
    assert not found["alone"].keep
    assert [one.rule for one in alone.decisions if one.task == "pull"] == ["swapped cameras"]


def replace_task(one: Episode, task: str) -> Episode:
    """The same attempt at another task."""
    return replace(one, manifest=replace(one.manifest, task=task))


def test_cameras_that_see_alike_are_not_called_exchanged() -> None:
    """A stereo pair cannot be told from itself the other way round, and is left alone."""
    for alike in (0.7, 1.0):
        views = [two_cameras(seed, alike=alike) for seed in range(10)]
        found = by_name([seen_by(f"attempt-{n}", *one) for n, one in enumerate(views)])
        assert all(one.keep and one.scores["exchange_gain"] < 0.05 for one in found.values())


def test_the_better_of_two_copies_stays() -> None:
    success, helped = attempt(20), {"segments": segments((120, "intervention"))}
    failure = Outcome(success=False, autonomous=False, source="script")
    for names in (("a", "b"), ("b", "a")):
        found = by_name([episode(names[0], success), episode(names[1], success, outcome=failure, **helped)])
        assert (found[names[0]].keep, found[names[1]].keep) == (True, False)
    found = by_name([episode("a", success[:-6]), episode("b", success), episode("c", success[:-6])])
    assert [name for name in "abc" if found[name].keep] == ["b"]


@pytest.mark.parametrize("what", ["another scene", "another instruction", "another motion", "nobody asked"])
def test_what_only_resembles_stays(what: str) -> None:
    one, other = attempt(20), attempt(21)
    copy = {
        "another scene": replace(one, scene=other.scene),
        "another motion": replace(other, scene=one.scene),
    }.get(what, one)
    claims = {"instruction": "reach the cube"} if what == "another instruction" else {}
    config = Curation(duplicates=Duplicates(motion=0.0)) if what == "nobody asked" else Curation()
    found = by_name([episode("one", one), episode("two", copy, **claims)], config)
    assert all(decision.rule == "kept" for decision in found.values())


def test_standing_still_is_skipped_at_both_ends_and_inside_but_for_half_a_second() -> None:
    one = attempt(20)
    waiting = one.held(119, 60).held(60, 60).held(0, 60)
    decision = by_name([episode("waiting", waiting)])["waiting"]
    assert len(decision.skipped) == 3
    skipped = np.zeros(len(waiting.state), bool)
    for start, end in decision.skipped:
        skipped[start:end] = True
    assert skipped[:40].all()
    assert skipped[-40:].all()
    assert skipped[135:165].all()
    moving = np.abs(np.diff(waiting.state, axis=0)).max(axis=1) > 0.002
    assert not skipped[:-1][moving].any()
    assert f"{skipped.sum()} ticks skipped" in decision.reason
    assert by_name([episode("waiting", waiting)], Curation(idle=Idle(shortest_s=0)))["waiting"].skipped == ()
    assert by_name([episode("waiting", waiting)], Curation(idle=Idle(shortest_s=9)))["waiting"].skipped == ()


def test_driving_evenly_is_not_standing_still() -> None:
    one = attempt(20, robot=ROVER)
    even = replace(one[:1].held(0, 100), scene=attempt(20, 101).scene[:1].repeat(101, axis=0))
    rest = np.full_like(even.state, 0.5)
    found = by_name(
        [
            episode("even", even),
            episode("coasting", replace(even, action=rest), task="coast"),
            episode("blocked", replace(even, state=rest), task="push"),
            episode("resting", replace(even, state=rest, action=rest), task="rest"),
            episode("seen", replace(even, state=rest, action=rest, scene=attempt(20, 101).scene), task="see"),
        ]
    )
    assert {found[name].scores["stillness"] for name in ("even", "coasting", "blocked")} == {0}
    assert found["resting"].scores["stillness"] == 101
    assert found["seen"].scores["stillness"] < 101, "pictures that pass by are motion"


def test_an_intervention_that_stands_still_may_be_the_correction_and_stays() -> None:
    waiting = attempt(20).held(60, 120)
    kinds = segments((50, "autonomous"), (190, "intervention"))
    helped = by_name([episode("helped", waiting, segments=kinds, outcome=HELPED)])["helped"]
    assert helped.scores["stillness"] > 100
    assert helped.skipped == ()
    demonstrated = episode("shown", waiting, segments=segments((240, "intervention")), outcome=HELPED)
    assert by_name([demonstrated])["shown"].skipped != ()


def test_who_never_moves_goes_unless_nothing_else_shows_the_task() -> None:
    idle = attempt(20)[:1].held(0, 100)
    found = by_name([*VARIED, episode("idle", idle), episode("alone", idle, task="wait")])
    assert (found["idle"].rule, found["idle"].weight) == ("still", 0.0)
    assert (found["alone"].rule, found["alone"].weight, found["alone"].skipped) == ("floor", 1.0, ())
    assert "too few of task 'wait'" in found["alone"].reason


@pytest.mark.parametrize(
    ("rule", "config"),
    [("rough", Curation(drop_roughest=0.2)), ("uninformative", Curation(drop_least_informative=0.2))],
)
def test_the_worst_share_of_a_task_goes(rule: str, config: Curation) -> None:
    random, one = np.random.default_rng(1), attempt(20)
    bad = replace(
        one,
        state=one.state + random.normal(0, 0.1, one.state.shape) * (rule == "rough"),
        action=random.uniform(0, 1, one.action.shape) if rule == "uninformative" else one.action,
    )
    episodes = [*VARIED, episode("bad", bad)]
    assert all(one.keep for one in by_name(episodes).values())
    found = by_name(episodes, config)
    assert [name for name, one in found.items() if not one.keep] == ["bad"]
    assert found["bad"].rule == rule


def test_so_many_that_cover_best_stay() -> None:
    near = [replace(attempt(0), state=attempt(0).state + 0.03 * k) for k in range(1, 5)]
    episodes = [*VARIED, *(episode(f"near-{k}", one) for k, one in enumerate(near))]
    found = by_name(episodes, Curation(most_episodes=6))
    assert sum(one.keep for one in found.values()) == 6
    assert all(found[f"attempt-{seed}"].keep for seed in range(1, 6)), "each shows what no other does"
    assert {one.rule for one in found.values()} == {"kept", "covered"}


def test_weights_multiply_and_are_never_below_one() -> None:
    config = Curation(weights=Weights(intervention=3, novel=2), novel_share=0.5)
    helped = {"segments": segments((60, "autonomous"), (60, "intervention")), "outcome": HELPED}
    found = by_name([*VARIED, episode("helped", attempt(9), **helped)], config)
    novel = sum(one.weight in (2.0, 6.0) for one in found.values())
    assert novel == 3
    assert found["helped"].weight in (3.0, 6.0)
    assert "a person helped" in found["helped"].reason
    assert min(one.weight for one in found.values()) >= 1
    shown = episode("shown", attempt(9), segments=segments((120, "intervention")), outcome=HELPED)
    assert by_name([shown])["shown"].weight == 1, "a demonstration is no correction"


def test_what_is_not_imitated_is_left_as_it_is() -> None:
    found = by_name(MIXED)["failed"]
    assert (found.rule, found.weight, found.scores, found.skipped) == ("not imitated", 1.0, {}, ())


CONFIGS = st.builds(
    Curation,
    drop_roughest=st.sampled_from([0.0, 0.5, 0.99]),
    drop_least_informative=st.sampled_from([0.0, 0.5, 0.99]),
    most_episodes=st.integers(0, 3),
    floor=st.integers(1, 3),
    duplicates=st.builds(Duplicates, motion=st.sampled_from([0.0, 0.05, 3.0]), pictures=st.sampled_from([0.1, 2.0])),
)


@settings(max_examples=15, deadline=None)
@given(st.permutations(MIXED), CONFIGS)
def test_a_plan_depends_on_no_order_and_empties_no_task(episodes: list[Episode], config: Curation) -> None:
    plan = decide(episodes, config)
    assert plan.to_bytes() == decide(MIXED, config).to_bytes()
    assert [one.content_id for one in plan.decisions] == sorted(one.manifest.content_id for one in MIXED)
    for task in {(one.embodiment, one.task) for one in plan.decisions}:
        of_task = [one for one in plan.decisions if (one.embodiment, one.task) == task and one.scores]
        assert sum(one.keep for one in of_task) >= min(config.floor, len(of_task))
    assert all((one.weight >= 1) == one.keep for one in plan.decisions)
    assert Plan.from_json(json.loads(plan.to_bytes())) == plan


def test_the_name_covers_inputs_and_configuration() -> None:
    changed = [replace(MIXED[0], manifest=replace(MIXED[0].manifest, outcome=FAILED)), *MIXED[1:]]
    plans = [decide(MIXED, Curation()), decide(MIXED, Curation(floor=2)), decide(MIXED[1:], Curation())]
    assert len({plan.id for plan in [*plans, decide(changed, Curation())]}) == 4
    assert plans[0].inputs == plans[1].inputs


def test_an_episode_is_found_by_the_digits_that_no_other_has() -> None:
    plan = decide(MIXED, Curation())
    one = plan.decisions[0]
    assert plan.decision(one.content_id[:20]) == one
    for nobody in ("", "x", one.content_id + "0"):
        with pytest.raises(DataError, match="E-DATA-072"):
            plan.decision(nobody)


@pytest.mark.parametrize(
    "wrong",
    [
        {"drop_roughest": 1.0},
        {"novel_share": -0.1},
        {"floor": 0},
        {"most_episodes": -1},
        {"weights": {"intervention": 0}},
        {"idle": {"shortest_s": float("inf")}},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="E-CONFIG-003"):
        load_json(Curation, wrong)
