"""A training tells its loss by robot and task, its gradients and rates by group, its pace and its memory; and what it
cannot go on from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import EPISODES, RUN, STAGES
from volano.errors import TrainError
from volano.train.engine import computing
from volano.train.feed import Feed
from volano.train.loop import train
from volano.train.measure import Meter, Norms, Result, Timing
from volano.train.parts import PARTS
from volano.train.peak import Peak, known, peak
from volano.train.stage import Worker

TRAIN = replace(RUN, stages=(replace(STAGES[1], steps=3),))


def journal(folder: Path) -> dict[int, Mapping[str, float]]:
    points: dict[int, Mapping[str, float]] = {}
    train(tiny_policy(), EPISODES, TRAIN, folder, Worker(record=points.__setitem__))
    return points


def test_a_point_has_what_a_practitioner_looks_for(tmp_path: Path) -> None:
    points = journal(tmp_path)
    assert sorted(points) == [0, 1, 2]
    for point in points.values():
        assert all(math.isfinite(value) for value in point.values())
        assert {"loss_sawyer", "loss_scout", "loss_task_manipulation", "loss_task_navigation"} <= set(point)
        assert point["loss"] == pytest.approx((point["loss_sawyer"] + point["loss_scout"]) / 2)
        assert point["gradient_norm"] == pytest.approx(math.hypot(*(point[f"gradient_norm_{part}"] for part in PARTS)))
        assert {f"learning_rate_{part}" for part in PARTS} <= set(point)
        assert 0 < point["mfu"] < 1
        assert point["peak_is_measured"] == (not torch.cuda.is_available())
        assert 0.01 < point["memory_gb"] < 100
        assert (point["share_sawyer"], point["share_scout"]) == (0.5, 0.5)
    assert points[0]["learning_rate_expert"] > points[2]["learning_rate_expert"]


def test_the_operations_are_those_of_tokens_and_not_of_padding() -> None:
    policy = tiny_policy().train()
    longer = [replace(one, instruction="open the door of the other room, then wait") for one in EPISODES["scout"]]
    feed = Feed({**EPISODES, "scout": longer}, policy.codecs, shares={}, batch=6, images=True, seed=0)
    samples = feed.samples(0, 0, 1)
    batch = policy.batch(samples)
    with computing(TRAIN.engine), FlopCounterMode(display=False) as counter:
        losses = policy.loss(batch, "beta_clean", torch.Generator())
        losses.mean().backward()
    tokens = batch.tokens()

    def mfu(lengths: torch.Tensor) -> float:
        meter = Meter(policy, TRAIN.stages[0], Peak(flops_per_s=1.0, measured=True))
        result = Result(samples=samples, losses=losses, tokens=lengths, text=None)
        for seconds in (2.0, 6.0):
            meter.add(result, Timing(seconds=seconds, waited=0.5))
        found = meter.measure(result, Norms(parts={}))
        assert (found["step_s"], found["data_wait_share"]) == (4.0, 0.125)
        assert found["samples_per_s"] == TRAIN.stages[0].batch / 4.0
        meter.add(result, Timing(seconds=1.0, waited=0.0))
        assert meter.measure(result, Norms(parts={}))["step_s"] == 1.0, "a window ends where a point is made"
        return found["mfu"]

    assert mfu(tokens) < mfu(torch.full_like(tokens, int(tokens.max())))
    counted = counter.get_total_flops()  # without gradients of inputs, which weigh on a network this small
    assert mfu(tokens) * 4.0 == pytest.approx(counted, rel=0.1)


def test_a_processor_has_a_peak() -> None:
    found = peak(torch.device("cpu"), "bf16")
    assert found.flops_per_s > 1e8
    assert found.measured


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA A1000", None),
    ],
)
def test_devices_are_known_by_whole_words(name: str, tflops: float | None) -> None:
    assert known(name) == (None if tflops is None else tflops * 1e12)


def test_a_loss_that_is_not_finite_names_the_episodes(tmp_path: Path) -> None:
    good, other = EPISODES["scout"]
    action = other.action.copy()
    action[:] = np.nan
    spoiled = {**EPISODES, "scout": [good, replace(other, action=action, episode="0123abcd")]}
    run = replace(TRAIN, stages=(replace(TRAIN.stages[0], batch=8),))
    with pytest.raises(TrainError, match=r"E-TRAIN-002 .*scout episode 0123abcd tick \d+") as caught:
        train(tiny_policy(), spoiled, run, tmp_path, Worker())
    assert "sawyer" not in str(caught.value)
    assert "number 0" not in str(caught.value)


def test_a_gradient_that_is_not_finite_names_the_part(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.expert.vlm_in.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainError, match=r"E-TRAIN-002 .*\(parts: expert\)"):
        train(policy, EPISODES, TRAIN, tmp_path, Worker())
