"""Vision-language samples from a fleet's own episodes: what was done, by its first and last picture, and who
did it.

Addressed by step like the actions' feed, so that a resumed run asks the same questions.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from volano.data.sample import quotas
from volano.embodiment.contract import Embodiment
from volano.errors import Code, TrainError
from volano.model.policy import TextSample
from volano.train.feed import Demonstration
from volano.train.film import first_frame
from volano.train.shots import QuestionFrames, Questions

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
        counts = {tag: len(items) for tag, items in self._episodes.items()}
        self._questions = Questions(counts=counts, quotas=quotas(dict.fromkeys(counts, 1.0), batch), seed=seed)

    def samples(self, step: int, rank: int, world: int) -> list[TextSample]:
        """This worker's share of the questions of `step`."""
        return [self._sample(*chosen) for chosen in self._questions.at(step)[rank::world]]

    def frames(self) -> QuestionFrames:
        """What the questions show, of episodes whose pictures are streamed."""
        films = {tag: [item.images[0] for item in items] for tag, items in self._episodes.items()}
        return QuestionFrames(
            questions=self._questions,
            firsts={tag: np.array([first_frame(film) for film in found], np.int64) for tag, found in films.items()},
            lengths={tag: np.array([len(film) for film in found], np.int64) for tag, found in films.items()},
        )

    def _sample(self, tag: str, number: int, only_first: bool) -> TextSample:
        """The first camera of the contract answers."""
        robot = self._embodiments[tag]
        episode = self._episodes[tag][number]
        camera, pictures = robot.cameras[0].name, episode.images[0]
        if only_first:
            return TextSample(
                cameras=(camera,), images=(np.asarray(pictures[0]),), question=_WHO, answer=f"{tag} with {robot.body}"
            )
        return TextSample(
            cameras=(camera, camera), images=(pictures[0], pictures[-1]), question=_DONE, answer=episode.instruction
        )
