"""What a person reads while a training runs."""

import pytest

from jobs.train_progress import sentence
from volano.train.journal import Point


def points(count: int, seconds: float) -> list[Point]:
    return [(10 * number, 1000.0 + seconds * number, {"loss": 1.0 / (1 + number)}) for number in range(count)]


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ([], ""),
        (points(1, 2.0), "step 1 of 101, loss 1.000"),
        (points(6, 2.0), "step 51 of 101, loss 0.167, about 10 s left"),
        (points(11, 2.0), "step 101 of 101, loss 0.091, about 0 s left"),
    ],
)
def test_it_says_where_the_run_is_and_how_long_the_rest_takes(journal: list[Point], said: str) -> None:
    assert sentence(journal, 101) == said


def test_the_pace_is_that_of_the_last_points() -> None:
    fast, slow = points(20, 1.0), [(200 + 10 * k, 1020.0 + 5.0 * k, {"loss": 0.5}) for k in range(10)]
    assert sentence([*fast, *slow], 301) == "step 291 of 301, loss 0.500, about 5 s left"


def test_a_run_that_went_back_is_where_it_writes_now() -> None:
    """Steps behind the checkpoint were written before the workers died: they are ahead of the run, not behind it."""
    again = [(50, 1100.0, {"loss": 0.25}), (60, 1104.0, {"loss": 0.125})]
    journal = [point for point in points(10, 2.0) if point[0] not in (50, 60)] + again
    told = sentence(sorted(journal, key=lambda point: point[0]), 101)
    assert told.startswith("step 61 of 101, loss 0.125, about ")
    assert "-" not in told
