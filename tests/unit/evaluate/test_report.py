"""An evaluation goes through its file unchanged, refuses what is none, and counts pairs and families rightly."""

import json

import pytest

from tests.unit.evaluate.evaluations import evaluation, first
from volano.errors import Code, EvaluationError
from volano.evaluate.report import Evaluation, summary, table
from volano.evaluate.statistics import compare_paired, paired_interval, wilson

FULL = evaluation(
    {
        "policy": {"scout": first(15, 20), "glider": first(5, 10), "car": first(9, 10)},
        "hold": {"scout": first(0, 20), "glider": first(0, 10), "car": first(2, 10)},
        "random": {"scout": first(8, 20), "glider": first(7, 10), "car": first(0, 10)},
        "expert": {"scout": first(20, 20), "glider": first(10, 10), "car": first(10, 10)},
    }
)


def test_the_file_gives_back_the_evaluation_and_its_name() -> None:
    again = Evaluation.from_bytes(FULL.to_bytes())
    assert again == FULL
    assert again.digest == FULL.digest
    assert json.loads(FULL.to_bytes())["results"]["policy"][0]["embodiment"] == "car"


def test_families_of_several_robots_are_groups_of_their_own() -> None:
    found = {(one.group, one.actor): (one.success.successes, one.success.n) for one in FULL.successes}
    assert {group for group, _ in found} == {"car", "glider", "scout", "navigation"}
    assert found["navigation", "policy"] == (20, 30)
    assert found["navigation", "random"] == (15, 30)
    assert found["car", "expert"] == (10, 10)
    navigation = next(one.success for one in FULL.successes if (one.group, one.actor) == ("navigation", "policy"))
    assert (navigation.low, navigation.high) == wilson(20, 30)


def test_differences_are_paired_by_trial() -> None:
    found = {(one.group, one.baseline): one for one in FULL.differences}
    scout = found["scout", "random"]
    assert (scout.pairs, scout.gained, scout.lost, scout.difference) == (20, 7, 0, 0.35)
    assert scout.p_value == compare_paired(first(8, 20), first(15, 20)).p_value
    assert (scout.low, scout.high) == paired_interval(first(8, 20), first(15, 20))
    assert (found["glider", "random"].gained, found["glider", "random"].lost) == (0, 2)


def test_a_trial_that_only_one_side_had_is_no_pair() -> None:
    uneven = evaluation({"policy": {"scout": first(3, 6)}, "hold": {"scout": first(0, 4)}})
    assert [one.pairs for one in uneven.differences] == [4]


def test_the_table_tells_every_group_and_comparison() -> None:
    lines = table(FULL).splitlines()
    assert lines[0].split() == ["policy", "hold", "random", "expert"]
    assert "20/30 67 [49, 81]" in next(line for line in lines if line.startswith("navigation"))
    assert sum(line.startswith(("hold ", "random ")) for line in lines) == len(FULL.differences) == 8
    assert summary(FULL)["successes"][0]["group"] == "car"
    json.dumps(summary(FULL))


def test_without_baselines_nothing_is_compared() -> None:
    alone = evaluation({"policy": {"scout": first(3, 6)}})
    assert alone.differences == ()
    assert "minus" not in table(alone)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"schema":"volano.evaluation.1"', b'"schema":"volano.evaluation.9"'),
        (b'"success":true', b'"success":1'),
        (b'"pool":"gate"', b'"pool":"fleet"'),
        (b'{"embodiment":"car"', b'{"embodiment":"boat"'),
        (b'"seed":1000001,', b'"seed":1000000,'),
        (b'"hold":', b'"ghost":'),
        (b'{"chunks"', b'{ "chunks"'),
        (b'"ticks":1}', b'"ticks":1,"weight":2}'),
    ],
)
def test_another_file_is_refused(before: bytes, after: bytes) -> None:
    changed = FULL.to_bytes().replace(before, after, 1)
    assert changed != FULL.to_bytes()
    with pytest.raises(EvaluationError) as caught:
        Evaluation.from_bytes(changed)
    assert caught.value.code == Code.EVALUATION_FORMAT


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"schema":"volano.evaluation.1"}', b"\xff"])
def test_what_is_no_evaluation_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(EvaluationError):
        Evaluation.from_bytes(data)
