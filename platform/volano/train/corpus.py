"""The synthetic language-action corpus as training reads it, and its rows of any step.

A function of its configuration alone, so every worker makes its own and nothing is sent: about a thousand trajectories
a second. Workers on processors of different kinds could round differently; a run's workers should be of one kind.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from volano.data.language_action.arms import arm_of
from volano.data.language_action.corpus import Trajectory, generate
from volano.data.language_action.words import FAMILIES, Family
from volano.data.sample import rows_of_step
from volano.embodiment.contract import Embodiment
from volano.model.actions import ActionCodec
from volano.model.config import ModelConfig
from volano.model.policy import Sample
from volano.train.config import CorpusConfig
from volano.train.feed import Demonstration, sample_at
from volano.train.sets import apportion, arm_robots, family_shares

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One trajectory of the corpus."""

    arm: str
    family: str
    demonstration: Demonstration


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Every trajectory of a run, and the arms' contracts."""

    robots: Mapping[str, Embodiment]
    motions: Sequence[Motion]
    refused: int
    """Plans that no trajectory was made of, because the scene had no room or the arm could not follow."""

    def by_arm(self) -> dict[str, list[Demonstration]]:
        """Trajectories of each arm."""
        return {tag: [one.demonstration for one in self.motions if one.arm == tag] for tag in self.robots}

    def instructions(self) -> set[str]:
        """Every sentence."""
        return {one.demonstration.instruction for one in self.motions}


def make_corpus(config: CorpusConfig, model: ModelConfig) -> Corpus | None:
    """The corpus of a run, None where it has none. Raises DataError for an arm or a family that there is not."""
    if not config.trajectories:
        return None
    robots = arm_robots(config, model)
    families: list[Family] = [family for family in FAMILIES if family in family_shares(config)]
    made = list(generate([arm_of(tag) for tag in robots], families, config.trajectories, config.seed))
    refused = sum(one.no_room + one.infeasible for one in made)
    _LOG.info("language-action corpus: %d trajectories, %d plans refused", len(made), refused)
    return Corpus(robots=robots, motions=[_motion(one) for one in made], refused=refused)


def _motion(one: Trajectory) -> Motion:
    demonstration = Demonstration(
        instruction=one.instruction,
        images=(),
        state=one.state.astype(np.float32),
        action=one.action.astype(np.float32),
        kinds=np.full(len(one.action), "autonomous"),
        succeeded=True,
    )
    return Motion(arm=one.arm, family=one.family, demonstration=demonstration)


class CorpusFeed:
    """Samples of any step, a fixed number of each family's in every batch; within a family every tick is as likely."""

    def __init__(
        self,
        corpus: Corpus,
        codecs: Mapping[str, ActionCodec],
        *,
        shares: Mapping[str, float],
        batch: int,
        seed: int,
    ) -> None:
        self._motions = corpus.motions
        self._codecs = codecs
        self._rows = {family: _ticks(corpus.motions, family) for family in shares}
        self._quotas = apportion(shares, batch, "the corpus")
        self._seed = seed

    def picks(self, step: int) -> list[tuple[str, int]]:
        """The whole share of the batch of `step`: family and position among its ticks."""
        return [
            (family, int(row))
            for family, quota in sorted(self._quotas.items())
            for row in rows_of_step(len(self._rows[family]), quota, self._seed, step)
        ]

    def origin(self, family: str, row: int) -> str:
        """Where a pick comes from, in words."""
        number, tick = self._rows[family][row]
        return f"corpus trajectory {number} ({family}) tick {tick}"

    def sample(self, family: str, row: int) -> Sample:
        """One pick as a training sample, without pictures."""
        number, tick = self._rows[family][row]
        motion = self._motions[number]
        return sample_at(self._codecs[motion.arm], motion.demonstration, int(tick), images=False)


def _ticks(motions: Sequence[Motion], family: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Trajectory and tick of everything in a family, shape (n, 2)."""
    lengths = [len(one.demonstration.action) if one.family == family else 0 for one in motions]
    numbers = np.repeat(np.arange(len(motions)), lengths)
    firsts = np.cumsum(lengths) - lengths
    return np.stack((numbers, np.arange(len(numbers)) - firsts[numbers]), axis=1)
