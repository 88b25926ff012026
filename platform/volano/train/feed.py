"""Training samples from episodes held in memory, addressed by step: no hidden cursor, no worker-dependent order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.data.sample import TickIndex, quotas, rows_of_step, usable_ticks
from volano.data.spans import Spans
from volano.errors import Code, TrainError
from volano.model.actions import ActionCodec
from volano.model.policy import Sample


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode as training reads it."""

    instruction: str
    images: tuple[NDArray[np.uint8], ...]
    """Per camera in the contract's order: shape (T, height, width, 3)."""
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
        self._images = images
        self._seed = seed

    def ticks(self) -> dict[str, int]:
        """Usable ticks per embodiment, weights included."""
        return {tag: len(index) for tag, index in self._index.items()}

    def samples(self, step: int, rank: int, world: int) -> list[Sample]:
        """This worker's share of the batch of `step`, families interleaved so that every worker sees each."""
        return [self.sample(tag, row) for tag, row in self.picks(step)[rank::world]]

    def picks(self, step: int) -> list[tuple[str, int]]:
        """The whole batch of `step`: embodiment and position among its usable ticks."""
        return [
            (tag, int(row))
            for tag, quota in sorted(self.quotas.items())
            for row in rows_of_step(len(self._index[tag]), quota, self._seed, step)
        ]

    def origin(self, tag: str, row: int) -> str:
        """Where a pick comes from, in words."""
        index = self._index[tag]
        number = int(index.episodes[row])
        episode = self._episodes[tag][number].episode or f"number {number}"
        return f"{tag} episode {episode} tick {int(index.ticks[row])}"

    def sample(self, tag: str, row: int) -> Sample:
        """One pick as a training sample."""
        index = self._index[tag]
        episode = self._episodes[tag][int(index.episodes[row])]
        return sample_at(self._codecs[tag], episode, int(index.ticks[row]), images=self._images)


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
