"""Vision-language samples from a fleet's own episodes: what was done, by its first and last picture, and who
did it.

Addressed by step like the actions' feed, so that a resumed run asks the same questions.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from volano.data.sample import quotas, rows_of_step
from volano.embodiment.contract import Embodiment
from volano.errors import Code, TrainError
from volano.model.policy import TextSample
from volano.train.feed import Demonstration

_DONE, _WHO = "What did the robot do between these pictures?", "Which robot is this?"


class TextFeed:
    """Questions of any step of a stage, in equal shares over the embodiments."""

    def __init__(
        self,
        episodes: Mapping[str, Sequence[Demonstration]],
        embodiments: Mapping[str, Embodiment],
        *,
        batch: int,
        seed: int,
    ) -> None:
        """Only episodes that reached their goal are asked about. Raises TrainError(E-TRAIN-003) when there is none."""
        self._episodes = {
            tag: [item for item in items if item.succeeded and item.images] for tag, items in sorted(episodes.items())
        }
        self._episodes = {tag: items for tag, items in self._episodes.items() if items}
        if not self._episodes:
            raise TrainError(
                Code.TRAIN_DATA,
                "no successful episode with a camera to ask about",
                "add some, or set the stage's vl_batch to 0",
            )
        self._embodiments = embodiments
        self._quotas = quotas(dict.fromkeys(self._episodes, 1.0), batch)
        self._seed = seed

    def samples(self, step: int, rank: int, world: int) -> list[TextSample]:
        """This worker's share of the questions of `step`."""
        chosen = [
            (tag, int(row))
            for tag, quota in sorted(self._quotas.items())
            for row in rows_of_step(2 * len(self._episodes[tag]), quota, self._seed, step)
        ]
        return [self._sample(tag, row) for tag, row in chosen[rank::world]]

    def _sample(self, tag: str, row: int) -> TextSample:
        """Each episode is asked about twice an epoch, once in each way; the first camera of the contract answers."""
        robot = self._embodiments[tag]
        number, kind = divmod(row, 2)
        episode = self._episodes[tag][number]
        camera, pictures = robot.cameras[0].name, episode.images[0]
        if kind:
            return TextSample(
                cameras=(camera,), images=(np.asarray(pictures[0]),), question=_WHO, answer=f"{tag} with {robot.body}"
            )
        return TextSample(
            cameras=(camera, camera), images=(pictures[0], pictures[-1]), question=_DONE, answer=episode.instruction
        )
