"""How well a policy in training answers episodes that it does not learn from: the open-loop error.

It tells over-fitting and a broken run early; it does not tell success, for which only the closed loop counts.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from volano.data.sample import usable_ticks
from volano.model.policy import Policy
from volano.train.feed import Demonstration, Feed

Episodes = Mapping[str, Sequence[Demonstration]]


def split(episodes: Episodes, share: float) -> tuple[dict[str, list[Demonstration]], dict[str, list[Demonstration]]]:
    """Episodes to learn from, and those held out: about `share` of each embodiment's, chosen by what they hold, so that
    an episode is on the same side in every version of a dataset. An embodiment keeps at least one to learn from."""
    learned: dict[str, list[Demonstration]] = {}
    held: dict[str, list[Demonstration]] = {}
    for tag, items in episodes.items():
        sides: tuple[list[Demonstration], list[Demonstration]] = ([], [])
        for item in items:
            sides[_place(item) < share and _is_imitable(item)].append(item)
        learned[tag], held[tag] = sides if sides[0] else (list(items), [])
    return learned, held


def _is_imitable(episode: Demonstration) -> bool:
    """Whether there is a right answer anywhere in it."""
    return len(usable_ticks([episode.kinds], [episode.succeeded], [episode.skipped])) > 0


def _place(episode: Demonstration) -> float:
    """Of an episode between 0 and 1, by its actions and instruction."""
    text = episode.instruction.encode() + np.ascontiguousarray(episode.action).tobytes()
    return int.from_bytes(hashlib.sha256(text).digest()[:6]) / 2**48


@torch.no_grad()
def open_loop_error(policy: Policy, feed: Feed, step: int) -> dict[str, float]:
    """Mean absolute difference of answer and record over valid cells, in units of half the q01-to-q99 range, as
    `error_<embodiment>`, on the batch of `step` of a feed over held-out episodes and from noise of that step alone."""
    samples = feed.samples(step, 0, 1)
    training = policy.training
    policy.eval()
    generator = torch.Generator().manual_seed(step)
    noise = torch.randn(len(samples), policy.config.horizon, policy.config.channels, generator=generator)
    answers = policy.normalized_from(samples, noise)
    policy.train(training)
    errors: dict[str, list[float]] = defaultdict(list)
    for sample, answer in zip(samples, answers.numpy(), strict=True):
        assert sample.target is not None
        assert sample.mask is not None
        errors[sample.embodiment].append(float(np.abs(np.clip(answer, -1, 1) - sample.target)[sample.mask].mean()))
    return {f"error_{tag}": float(np.mean(values)) for tag, values in sorted(errors.items())}
