"""The gate lets pass what was shown, refuses what was refuted, and says when it cannot tell."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.evaluate.evaluations import evaluation, first
from volano.evaluate.report import Actor, PoolName
from volano.flywheel.gate import GateDecision, GateRules, decide
from volano.flywheel.stories import gate_story, success_rows

N = 30
TAGS = ("car", "glider", "sawyer", "scout")
RANK = {"refuse": 0, "shadow_only": 1, "pass": 2}


def judged(
    candidate: dict[str, list[bool]],
    current: dict[str, list[bool]] | None = None,
    *,
    hold: int = 0,
    random: int = 3,
    pools: tuple[PoolName, PoolName] = ("gate", "gate"),
    rules: GateRules | None = None,
) -> GateDecision:
    """Baselines succeed in their first trials."""
    floors: dict[Actor, dict[str, list[bool]]] = {
        "hold": {tag: first(hold, len(rows)) for tag, rows in candidate.items()},
        "random": {tag: first(random, len(rows)) for tag, rows in candidate.items()},
    }
    in_place = None if current is None else evaluation({"policy": current}, policy="c" * 64, pool=pools[1])
    return decide(evaluation({"policy": candidate, **floors}, pool=pools[0]), in_place, rules)


def everywhere(successes: int, n: int = N) -> dict[str, list[bool]]:
    return {tag: first(successes, n) for tag in TAGS}


def test_the_first_policy_must_beat_both_baselines_in_every_family() -> None:
    decision = judged(everywhere(20))
    assert (decision.verdict, decision.passed, decision.current) == ("pass", True, "")
    assert len(decision.criteria) == 3 * 2
    weak = judged(everywhere(20) | {"sawyer": first(5, N)})
    assert weak.verdict == "refuse"
    unmet = [one.name for one in weak.criteria if not one.met]
    assert unmet == ["manipulation: better than random chunks"]
    assert unmet[0] in weak.reason
    assert judged(everywhere(20), hold=19).verdict == "refuse"


def test_a_baseline_that_did_not_act_is_not_beaten() -> None:
    alone = evaluation({"policy": everywhere(N)})
    assert decide(alone, None).verdict == "refuse"


def test_few_episodes_show_nothing() -> None:
    assert judged(everywhere(19, 19) | {"glider": []}).verdict == "refuse"
    assert judged(everywhere(20, 20)).verdict == "pass"
    assert judged({"car": first(19, 19)}, {"car": first(0, 19)}).verdict == "refuse"


def test_a_later_policy_must_not_be_worse_in_any_family() -> None:
    worse = judged(everywhere(20) | {"car": first(8, N)}, everywhere(20))
    assert worse.verdict == "refuse"
    assert "trajectory" in worse.reason
    assert "manipulation" not in worse.reason
    better = judged(everywhere(28), everywhere(18))
    assert better.verdict == "pass"
    assert better.current == "c" * 64
    assert len(better.evaluations) == 2


def test_what_cannot_be_told_passes_to_the_shadow_step_only_and_says_so() -> None:
    scattered = [number % 2 == 0 for number in range(N)]
    decision = judged({"car": scattered}, {"car": scattered[::-1]})
    assert (decision.verdict, decision.passed) == ("shadow_only", True)
    assert "inconclusive" in decision.reason
    assert "shadow" in decision.reason
    assert all(one.met for one in decision.criteria)


def test_only_the_same_robots_on_the_same_seeds_are_compared() -> None:
    assert judged(everywhere(28), everywhere(18), pools=("final", "gate")).verdict == "refuse"
    missing = judged({"car": first(28, N)}, everywhere(18))
    assert missing.verdict == "refuse"
    assert "sawyer" in missing.reason
    assert decide(evaluation({"policy": {}}), None).verdict == "refuse"


def test_a_robot_that_is_new_to_its_family_must_beat_the_baselines() -> None:
    current = {"scout": first(18, N)}
    assert judged({"scout": first(25, N), "glider": first(25, N)}, current).verdict == "pass"
    assert judged({"scout": first(25, N), "glider": first(3, N)}, current).verdict == "refuse"


@settings(max_examples=60)
@given(st.data())
def test_one_success_more_never_makes_it_worse(data: st.DataObject) -> None:
    n = data.draw(st.integers(20, 40))
    outcomes = st.lists(st.booleans(), min_size=n, max_size=n)
    candidate = {tag: data.draw(outcomes) for tag in ("car", "scout")}
    current = data.draw(st.none() | st.fixed_dictionaries({"car": outcomes, "scout": outcomes}))
    tag, number = data.draw(st.sampled_from(sorted(candidate))), data.draw(st.integers(0, n - 1))
    improved = {**candidate, tag: [success or place == number for place, success in enumerate(candidate[tag])]}
    before, after = judged(candidate, current), judged(improved, current)
    assert RANK[after.verdict] >= RANK[before.verdict]


@given(st.lists(st.booleans(), min_size=20, max_size=60))
def test_a_policy_is_never_worse_than_itself(outcomes: list[bool]) -> None:
    assert judged({"scout": outcomes}, {"scout": outcomes}).passed


def test_equal_policies_are_refused_no_more_often_than_alpha_and_much_worse_ones_are_stopped() -> None:
    def refused(rate: float) -> float:
        runs, count = Random(0), 0
        for _ in range(60):
            current = {tag: [runs.random() < 0.6 for _ in range(48)] for tag in ("car", "sawyer", "scout")}
            candidate = {tag: [runs.random() < rate for _ in range(48)] for tag in ("car", "sawyer", "scout")}
            count += judged(candidate, current).verdict == "refuse"
        return count / 60

    assert refused(0.6) <= 0.05
    assert refused(0.3) >= 0.9


def test_the_report_tells_evaluations_and_decisions() -> None:
    floors: dict[Actor, dict[str, list[bool]]] = {"hold": everywhere(0), "expert": everywhere(29)}
    rounds = [(f"round {n}", evaluation({"policy": everywhere(10 * n), **floors})) for n in (1, 2)]
    rows = {(row.group, row.actor): (row.role, row.successes, row.episodes) for row in success_rows(rounds)}
    assert rows["car", "round 1"] == ("policy", 10, N)
    assert rows["navigation", "round 2"] == ("policy", 40, 2 * N)
    assert rows["navigation", "scripted expert"] == ("expert", 58, 2 * N)
    assert len(rows) == len(success_rows(rounds)) == 5 * 4
    decision = judged(everywhere(20))
    assert gate_story(decision).criteria == decision.criteria
    assert gate_story(decision).passed
