"""What is held out is never learned from, stays held out as a dataset grows, and is answered without a trace."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES, RUN, demonstrations
from volano.train.feed import Feed
from volano.train.held_out import open_loop_error, split
from volano.train.loop import train
from volano.train.stage import Worker

MANY = [
    replace(one, action=one.action + number / 100) for number in range(200) for one in demonstrations("scout", ticks=3)
]


def test_about_the_share_is_held_out_and_the_same_whatever_comes_along() -> None:
    learned, held = split({"scout": MANY[:200]}, 0.2)
    more_learned, more_held = split({"scout": MANY}, 0.2)
    assert len(learned["scout"]) + len(held["scout"]) == 200
    assert 0.1 < len(held["scout"]) / 200 < 0.3
    assert {id(one) for one in held["scout"]} <= {id(one) for one in more_held["scout"]}
    assert {id(one) for one in learned["scout"]} <= {id(one) for one in more_learned["scout"]}
    assert split({"scout": MANY}, 0.0)[1] == {"scout": []}


def test_a_failure_has_no_right_answer_to_hold_out() -> None:
    failed = [replace(one, kinds=np.full(3, "autonomous")) for one in MANY[:50]]
    assert split({"scout": failed}, 0.9) == ({"scout": failed}, {"scout": []})


def test_a_robot_with_one_episode_learns_from_it() -> None:
    assert [len(side["scout"]) for side in split({"scout": MANY[:1]}, 1.0)] == [1, 0]


def test_the_error_is_that_of_the_answers_and_leaves_no_trace() -> None:
    policy = tiny_policy().train()
    feed = Feed(EPISODES, policy.codecs, shares={}, batch=8, images=True, seed=0)
    before = torch.get_rng_state()
    found = open_loop_error(policy, feed, 3)
    assert found == open_loop_error(policy, feed, 3)
    assert found.keys() == {"error_sawyer", "error_scout"}
    assert all(0 < error < 2 for error in found.values())
    assert torch.equal(before, torch.get_rng_state())
    assert policy.training
    samples = feed.samples(3, 0, 1)
    noise = torch.randn(len(samples), 8, 8, generator=torch.Generator().manual_seed(3))
    answers = np.clip(policy.eval().normalized_from(samples, noise).numpy(), -1, 1)
    expected = [
        np.abs(answer - sample.target)[sample.mask].mean()
        for sample, answer in zip(samples, answers, strict=True)
        if sample.embodiment == "scout"
    ]
    assert np.isclose(found["error_scout"], np.mean(expected))


def test_it_is_measured_at_every_checkpoint(tmp_path: Path) -> None:
    measured: dict[int, Mapping[str, float]] = {}
    worker = Worker(record=lambda step, metrics: measured.update({step: metrics}))
    train(tiny_policy(), {"scout": MANY[:40]}, replace(RUN, held_out=0.2), tmp_path, worker)
    assert [step for step, metrics in measured.items() if "error_scout" in metrics] == [1, 2, 4, 6, 7]
