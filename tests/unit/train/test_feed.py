"""What a step sees depends on the step alone, is imitated only when worth it, and covers every tick once an epoch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES
from volano.data.sample import quotas, rows_of_step, usable_ticks
from volano.errors import TrainError
from volano.train.feed import Feed


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5))
def test_each_epoch_is_a_permutation(length: int, quota: int, seed: int) -> None:
    steps = -(-2 * length // quota)
    rows = np.concatenate([rows_of_step(length, quota, seed, step) for step in range(steps)])
    assert sorted(rows[:length]) == list(range(length))
    assert sorted(rows[length : 2 * length]) == list(range(length))


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1), st.integers(4, 300))
def test_quotas_fill_the_batch_and_starve_nobody(shares: dict[str, float], batch: int) -> None:
    rows = quotas(shares, batch)
    assert sum(rows.values()) == batch
    assert min(rows.values()) >= 1


def test_workers_share_the_batch_of_one() -> None:
    feed = Feed(EPISODES, tiny_policy().codecs, shares={}, batch=8, images=False, seed=0)
    alone = [(s.embodiment, s.state.tobytes()) for s in feed.samples(3, 0, 1)]
    shared = [(s.embodiment, s.state.tobytes()) for rank in range(2) for s in feed.samples(3, rank, 2)]
    assert sorted(alone) == sorted(shared)


def test_failed_autonomous_ticks_are_never_imitated_and_interventions_always() -> None:
    kinds = np.array(["autonomous", "intervention", "recovery", "autonomous"])
    failed = usable_ticks([kinds], [False], [()])
    assert failed.ticks.tolist() == [1, 2]
    assert usable_ticks([kinds], [True], [()]).ticks.tolist() == [0, 1, 2, 3]


def test_what_a_version_skips_is_no_sample() -> None:
    kinds = np.array(["autonomous"] * 6)
    index = usable_ticks([kinds, kinds], [True, True], [((0, 2), (4, 5)), ()])
    assert index.ticks.tolist() == [2, 3, 5, 0, 1, 2, 3, 4, 5]
    skipping = {tag: [replace(one, skipped=((0, 3),)) for one in items] for tag, items in EPISODES.items()}
    feeds = [
        Feed(given, tiny_policy().codecs, shares={}, batch=8, images=False, seed=0) for given in (EPISODES, skipping)
    ]
    whole, less = (feed.ticks() for feed in feeds)
    assert less == {tag: whole[tag] - 3 * len(items) for tag, items in EPISODES.items()}


def test_a_batch_too_small_for_its_shares_is_refused() -> None:
    with pytest.raises(TrainError, match="E-TRAIN-003"):
        quotas({"a": 1.0, "b": 1.0}, 1)
