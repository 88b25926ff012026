"""Which frames a worker shows its network at each step: numbers only, so that whoever decodes works it out as well.

Relies on footage, in which every frame of a version has a number. What it says of a step is a function of that step,
as the batch is; a run that goes on needs nothing but the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volano.data.order import Order
from volano.data.sample import TickIndex, rows_of_step

Pick = tuple[str, int]
"""Embodiment, and position among its usable ticks."""


@dataclass(frozen=True, kw_only=True)
class Picks:
    """The rows of episodes in every batch of a stage."""

    orders: Mapping[str, Order]

    def at(self, step: int) -> list[Pick]:
        """The whole batch."""
        return [(tag, int(row)) for tag, order in sorted(self.orders.items()) for row in order.rows(step)]


class Wanted(Protocol):
    """Frames of the whole batch, or of every so manieth of its samples from one on."""

    @property
    def span(self) -> int:
        """Steps that share frames."""
        ...

    def frames(self, step: int, first: int, every: int) -> list[int]:
        """Their numbers; some may stand there twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class EpisodeFrames:
    """What the samples of episodes show: every camera at their tick."""

    picks: Picks
    index: Mapping[str, TickIndex]
    firsts: Mapping[str, NDArray[np.int64]]
    """(episodes, cameras): number of the first frame of each film."""

    @property
    def span(self) -> int:
        """As the protocol says."""
        return max(order.span for order in self.picks.orders.values())

    def frames(self, step: int, first: int, every: int) -> list[int]:
        """As the protocol says."""
        found: list[int] = []
        for tag, row in self.picks.at(step)[first::every]:
            index = self.index[tag]
            found += (self.firsts[tag][index.episodes[row]] + index.ticks[row]).tolist()
        return found


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Which episode each question of a step is about, and which question it is."""

    counts: Mapping[str, int]
    """Episodes that may be asked about, by embodiment."""
    quotas: Mapping[str, int]
    seed: int

    def at(self, step: int) -> list[tuple[str, int, bool]]:
        """Embodiment, position of the episode, and whether the robot is asked for and not what it did. Each episode is
        asked about twice an epoch, once in each way."""
        return [
            (tag, int(row) // 2, bool(row % 2))
            for tag, quota in sorted(self.quotas.items())
            for row in rows_of_step(2 * self.counts[tag], quota, self.seed, step)
        ]


@dataclass(frozen=True, kw_only=True)
class QuestionFrames:
    """What questions show: the first picture of an episode, or the first and the last, of its first camera."""

    questions: Questions
    firsts: Mapping[str, NDArray[np.int64]]
    """(episodes,): number of the first frame."""
    lengths: Mapping[str, NDArray[np.int64]]
    """(episodes,), frames."""
    span: int = 1

    def frames(self, step: int, first: int, every: int) -> list[int]:
        """As the protocol says."""
        found: list[int] = []
        for tag, number, only_first in self.questions.at(step)[first::every]:
            begin = int(self.firsts[tag][number])
            found += [begin] if only_first else [begin, begin + int(self.lengths[tag][number]) - 1]
        return found


@dataclass(frozen=True, kw_only=True)
class Shots:
    """Of one worker in one stage."""

    learned: tuple[Wanted, ...]
    """Of every step, a share of each."""
    tested: Wanted | None
    """Of the steps at which this worker tests the policy, all of it."""
    rank: int
    world: int
    passes: int
    test_every: int
    steps: int
    """Of the stage; the last one ends with a test, too."""

    @property
    def is_blind(self) -> bool:
        """Whether no step shows anything."""
        return not self.learned and self.tested is None

    @property
    def span(self) -> int:
        """Steps to decode together, from a multiple of it on."""
        return max((one.span for one in self.learned), default=1)

    def at(self, step: int) -> NDArray[np.int64]:
        """Numbers of the frames, each once, in the order in which they are first shown."""
        every = self.world * self.passes
        firsts = [self.rank + number * self.world for number in range(self.passes)]
        found = [frame for one in self.learned for first in firsts for frame in one.frames(step, first, every)]
        if self.tested is not None and ((step + 1) % self.test_every == 0 or step + 1 == self.steps):
            found += self.tested.frames(step, 0, 1)
        return np.array(list(dict.fromkeys(found)), np.int64)
