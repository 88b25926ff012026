"""Which questions a step asks depends on the step alone, and only what succeeded is told."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.unit.train.test_loop import EPISODES
from volano.embodiment.shipped import SHIPPED
from volano.errors import TrainError
from volano.model.policy import TextSample
from volano.train.text import TextFeed

SUCCEEDED = {tag: [replace(items[0], succeeded=True), items[1]] for tag, items in EPISODES.items()}


def told(samples: list[TextSample]) -> Counter[tuple[str, str, int]]:
    return Counter((one.question, one.answer, len(one.images)) for one in samples)


def test_each_epoch_asks_each_way_about_each_success_and_never_about_a_failure() -> None:
    feed = TextFeed(SUCCEEDED, SHIPPED, batch=4, seed=0)
    done, who = "What did the robot do between these pictures?", "Which robot is this?"
    assert told(feed.samples(0, 0, 1)) == {
        (done, "open the door", 2): 2,
        (who, f"sawyer with {SHIPPED['sawyer'].body}", 1): 1,
        (who, f"scout with {SHIPPED['scout'].body}", 1): 1,
    }
    first = {one.images[0].tobytes() for one in feed.samples(0, 0, 1)}
    assert first == {items[0].images[0][0].tobytes() for items in SUCCEEDED.values()}


def test_workers_share_the_questions_of_one() -> None:
    feed = TextFeed(SUCCEEDED, SHIPPED, batch=6, seed=3)
    alone = feed.samples(5, 0, 1)
    shared = [one for rank in range(3) for one in feed.samples(5, rank, 3)]
    assert told(alone) == told(shared)
    assert told(alone) == told(TextFeed(SUCCEEDED, SHIPPED, batch=6, seed=3).samples(5, 0, 1))


def test_without_a_success_there_is_nothing_to_ask() -> None:
    with pytest.raises(TrainError, match="E-TRAIN-003"):
        TextFeed(EPISODES, SHIPPED, batch=4, seed=0)
