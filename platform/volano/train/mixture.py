"""A stage's batches: real episodes of one or more dataset versions and the synthetic corpus, each set with its fixed
number of rows in every batch.

A function of (seed, stage, step) like its parts, whatever the number of workers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from volano.errors import Code, TrainError
from volano.model.actions import ActionCodec
from volano.model.policy import Policy, Sample
from volano.train.config import CorpusConfig, StageConfig
from volano.train.corpus import Corpus, CorpusFeed
from volano.train.feed import Demonstration, Feed
from volano.train.sets import EPISODES, LANGUAGE_ACTION, VERSION, family_shares, rows_by_set, shares_within
from volano.train.shots import EpisodeFrames

Episodes = Mapping[str, Sequence[Demonstration]]
"""By embodiment tag."""
_SHOWN = 12
"""Digits of a version's identifier in the name of a metric."""


class Mixture:
    """Samples of any step of a stage, from every set of its mixture."""

    def __init__(self, parts: Mapping[str, Feed | CorpusFeed]) -> None:
        self._parts = parts

    def samples(self, step: int, rank: int, world: int) -> list[Sample]:
        """This worker's share of the batch of `step`, sets interleaved so that every worker sees each."""
        picks = [(part, pick) for part in self._parts.values() for pick in part.picks(step)]
        return [part.sample(*pick) for part, pick in picks[rank::world]]

    def frames(self) -> EpisodeFrames | None:
        """What the samples show, of episodes whose pictures are streamed; those of the corpus, which stand behind them
        in a batch, show nothing."""
        episodes = self._parts.get(EPISODES)
        return episodes.frames() if isinstance(episodes, Feed) else None

    def origins(self, step: int, rank: int, world: int) -> list[str]:
        """Where each of this worker's samples comes from, in words."""
        picks = [(part, pick) for part in self._parts.values() for pick in part.picks(step)]
        return [part.origin(*pick) for part, pick in picks[rank::world]]

    def proportions(self, step: int) -> dict[str, float]:
        """What the whole batch of `step` is made of: `share_set_<set>`, and `share_family_<family>` of the rows of the
        corpus; nothing where there is nothing but episodes. Another version is `version_` and 12 of its digits."""
        if set(self._parts) == {EPISODES}:
            return {}
        picks = {name: part.picks(step) for name, part in self._parts.items()}
        whole = sum(map(len, picks.values()))
        drawn = Counter(family for family, _ in picks.get(LANGUAGE_ACTION, ()))
        return {
            **{f"share_set_{_shown(name)}": len(rows) / whole for name, rows in picks.items()},
            **{f"share_family_{family}": count / drawn.total() for family, count in sorted(drawn.items())},
        }


def _shown(name: str) -> str:
    """A set in the name of a metric, where no colon may stand."""
    return f"version_{name.removeprefix(VERSION)[:_SHOWN]}" if name.startswith(VERSION) else name


def mixture(
    policy: Policy,
    episodes: Episodes,
    corpus: Corpus | None,
    stage: StageConfig,
    config: CorpusConfig,
    seed: int,
    others: Mapping[str, Episodes],
) -> Mixture:
    """The batches of a stage; `others` are the episodes of other versions by identifier. Raises TrainError(E-TRAIN-003)
    like `Feed`, and E-TRAIN-006 where the mixture names a corpus or a version that is not there."""
    rows = rows_by_set(stage)
    sets = {EPISODES: episodes, **{VERSION + version: items for version, items in others.items()}}
    if absent := sorted(rows.keys() - sets.keys() - {LANGUAGE_ACTION}):
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"stage {stage.name!r} mixes {absent[0]!r}, and the run has no such version",
            "name it in the recipe or by an override, so that it is read",
        )
    parts: dict[str, Feed | CorpusFeed] = {
        name: Feed(
            items,
            policy.codecs,
            shares=shares_within(stage, name, items) if others else stage.shares,
            batch=rows[name],
            images=stage.images,
            seed=seed,
            order=stage.order,
        )
        for name, items in sets.items()
        if name in rows
    }
    if LANGUAGE_ACTION in rows:
        if corpus is None:
            raise TrainError(
                Code.TRAIN_MIXTURE,
                f"stage {stage.name!r} mixes the synthetic corpus, and the run makes none",
                "set corpus.trajectories, or take language_action out of the stage's mixture",
            )
        codecs: Mapping[str, ActionCodec] = policy.text_codecs
        shares = family_shares(config)
        parts[LANGUAGE_ACTION] = CorpusFeed(corpus, codecs, shares=shares, batch=rows[LANGUAGE_ACTION], seed=seed)
    return Mixture(parts)
