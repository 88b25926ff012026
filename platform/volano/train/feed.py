"""Training samples from episodes, addressed by step: no hidden cursor, no worker-dependent order.

Their numbers are in memory, and their pictures are, or are brought for the step by a supply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.data.order import OrderKind, order_of
from volano.data.sample import TickIndex, quotas, usable_ticks
from volano.data.spans import Spans
from volano.errors import Code, TrainError
from volano.model.actions import ActionCodec
from volano.model.policy import Sample
from volano.train.film import Film, first_frame
from volano.train.shots import EpisodeFrames, Picks


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode as training reads it."""

    instruction: str
    images: tuple[Film, ...]
    """Per camera in the contract's order: T pictures (height, width, 3)."""
    state: NDArray[np.float32]
    """Shape (T, state channels), physical units."""
    action: NDArray[np.float32]
    """Shape (T, action channels), recorded frame."""
    kinds: NDArray[np.str_]
    """Segment kind of each tick, shape (T,)."""
    succeeded: bool
    """The attempt was autonomous from start to end, and successful."""
    weight: int = 1
    """How often its ticks stand in one epoch."""
    episode: str = ""
    """Its content identifier; empty for what no robot recorded."""
    skipped: Spans = ()
    """Ticks that no sample is taken from."""


class Feed:
    """Samples of any step of a stage."""

    def __init__(
        self,
        episodes: Mapping[str, Sequence[Demonstration]],
        codecs: Mapping[str, ActionCodec],
        *,
        shares: Mapping[str, float],
        batch: int,
        images: bool,
        seed: int,
        order: OrderKind = "uniform",
    ) -> None:
        """`shares` empty means equal shares of every embodiment that has episodes; a share of 0 takes one out."""
        shares = {tag: share for tag, share in shares.items() if share}
        present = {tag: list(items) for tag, items in episodes.items() if items}
        self._episodes = present
        self._codecs = codecs
        self._index = {tag: _weighted_index(items) for tag, items in present.items()}
        empty = [tag for tag, index in self._index.items() if not len(index)] or [t for t in shares if t not in present]
        if empty or not present:
            raise TrainError(
                Code.TRAIN_DATA,
                f"no usable tick for {', '.join(empty) or 'any embodiment'}",
                "add episodes with interventions or successes, or take it out of the stage's shares",
            )
        self.quotas = quotas(shares or dict.fromkeys(present, 1.0), batch)
        self._picks = Picks(
            orders={tag: order_of(order, self._index[tag], quota, seed) for tag, quota in self.quotas.items()}
        )
        self._images = images

    def ticks(self) -> dict[str, int]:
        """Usable ticks per embodiment, weights included."""
        return {tag: len(index) for tag, index in self._index.items()}

    def samples(self, step: int, rank: int, world: int) -> list[Sample]:
        """This worker's share of the batch of `step`, families interleaved so that every worker sees each."""
        return [self.sample(tag, row) for tag, row in self.picks(step)[rank::world]]

    def picks(self, step: int) -> list[tuple[str, int]]:
        """The whole batch of `step`: embodiment and position among its usable ticks."""
        return self._picks.at(step)

    def frames(self) -> EpisodeFrames | None:
        """What the samples show, of episodes whose pictures are streamed; None where samples have no pictures."""
        if not self._images:
            return None
        firsts = {
            tag: np.array([[first_frame(film) for film in episode.images] for episode in self._episodes[tag]], np.int64)
            for tag in self.quotas
        }
        return EpisodeFrames(picks=self._picks, index={tag: self._index[tag] for tag in self.quotas}, firsts=firsts)

    def origin(self, tag: str, row: int) -> str:
        """Where a pick comes from, in words."""
        number, tick = self.place(tag, row)
        return f"{tag} episode {self._episodes[tag][number].episode or f'number {number}'} tick {tick}"

    def place(self, tag: str, row: int) -> tuple[int, int]:
        """Position of a pick's episode, and its tick."""
        index = self._index[tag]
        return int(index.episodes[row]), int(index.ticks[row])

    def sample(self, tag: str, row: int) -> Sample:
        """One pick as a training sample."""
        number, tick = self.place(tag, row)
        return sample_at(self._codecs[tag], self._episodes[tag][number], tick, images=self._images)


def sample_at(codec: ActionCodec, episode: Demonstration, tick: int, *, images: bool) -> Sample:
    """What the policy sees at one tick of an episode, and what it should answer."""
    target = codec.encode(episode.action, tick)
    return Sample(
        embodiment=codec.embodiment.tag,
        instruction=episode.instruction,
        images=tuple(camera[tick] for camera in episode.images) if images else (),
        state=episode.state[tick],
        target=target.values,
        mask=target.mask,
    )


def _weighted_index(episodes: Sequence[Demonstration]) -> TickIndex:
    once = usable_ticks(
        [episode.kinds for episode in episodes],
        [episode.succeeded for episode in episodes],
        [episode.skipped for episode in episodes],
    )
    repeats = np.array([episode.weight for episode in episodes])[once.episodes]
    return TickIndex(episodes=np.repeat(once.episodes, repeats), ticks=np.repeat(once.ticks, repeats))
