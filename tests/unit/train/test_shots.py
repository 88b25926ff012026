"""What decoders are told to bring is what samples, questions and tests of a step show, for any number of workers."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.model.tiny import tiny_policy
from tests.unit.train.test_loop import ASKING_RUN, EPISODES, demonstrations
from volano.data.order import OrderKind
from volano.model.folder import weights
from volano.train.config import RunConfig
from volano.train.feed import Demonstration, Feed
from volano.train.film import StreamedFilm
from volano.train.loop import train
from volano.train.shots import Shots
from volano.train.stage import Worker
from volano.train.text import TextFeed

Picture = NDArray[np.uint8]


class Shelf:
    """A supply that has every picture and shows those of the step alone."""

    def __init__(self) -> None:
        self.kept: dict[int, Picture] = {}
        self.shown: MutableMapping[int, Picture] = {}
        self.brought: list[int] = []

    def streamed(self, episodes: dict[str, list[Demonstration]]) -> dict[str, list[Demonstration]]:
        """The same episodes, their pictures taken away."""
        return {tag: [replace(one, images=self._films(one)) for one in items] for tag, items in episodes.items()}

    def _films(self, episode: Demonstration) -> tuple[StreamedFilm, ...]:
        films = []
        for film in episode.images:
            first = len(self.kept)
            self.kept |= {first + tick: film[tick] for tick in range(len(film))}
            films.append(StreamedFilm(frames=range(first, len(self.kept)), shown=self.shown))
        return tuple(films)

    @contextmanager
    def bringing(self, shots: Shots, steps: range) -> Iterator[Callable[[int], None]]:
        def bring(step: int) -> None:
            self.shown.clear()
            self.shown.update({frame: self.kept[frame] for frame in shots.at(step).tolist()})
            self.brought.append(step)

        assert shots.is_blind == (not any(len(shots.at(step)) for step in steps))
        yield bring
        self.shown.clear()


def losses(folder: Path, run: RunConfig, episodes: dict[str, list[Demonstration]], shelf: Shelf | None) -> object:
    """Metrics of every step, and the weights in the end."""
    found: list[object] = []
    policy = tiny_policy()
    worker = Worker(
        record=lambda _step, metrics: found.append({k: metrics[k] for k in metrics if "loss" in k or "error" in k})
    )
    train(policy, episodes, run, folder, worker, supply=shelf)
    return found, {name: tensor.tolist() for name, tensor in weights(policy).items()}


@pytest.mark.parametrize("order", ["uniform", "blocks"])
def test_streamed_pictures_train_what_those_in_memory_do(tmp_path: Path, order: OrderKind) -> None:
    """With questions, tests on episodes held out, and several passes."""
    stages = tuple(replace(stage, passes=2, order=order) for stage in ASKING_RUN.stages)
    run = replace(ASKING_RUN, stages=stages, held_out=0.4)
    episodes = {tag: [replace(one, succeeded=True) for one in items] for tag, items in EPISODES.items()}
    shelf = Shelf()
    torch.manual_seed(0)
    held = losses(tmp_path / "held", run, episodes, None)
    torch.manual_seed(0)
    assert losses(tmp_path / "streamed", run, shelf.streamed(episodes), shelf) == held
    assert shelf.brought == [0, 1, 2, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("order", ["uniform", "blocks"])
def test_workers_are_brought_exactly_what_they_show(world: int, order: OrderKind) -> None:
    shelf = Shelf()
    episodes = shelf.streamed(
        {tag: [replace(one, succeeded=True) for one in demonstrations(tag, 40)] for tag in EPISODES}
    )
    feed = Feed(episodes, tiny_policy().codecs, shares={}, batch=9, images=True, seed=0, order=order)
    text = TextFeed(episodes, {tag: codec.embodiment for tag, codec in tiny_policy().codecs.items()}, batch=4, seed=0)
    frames = feed.frames()
    assert frames is not None
    seen: list[bytes] = []
    for rank in range(world):
        shots = Shots(
            learned=(frames, text.frames()), tested=None, rank=rank, world=world, passes=2, test_every=9, steps=50
        )
        with shelf.bringing(shots, range(50)) as bring:
            bring(17)
            every = 2 * world
            for first in (rank, rank + world):
                samples, questions = feed.samples(17, first, every), text.samples(17, first, every)
                images = [image for sample in samples for image in sample.images]
                images += [image for question in questions for image in question.images]
                seen += [image.tobytes() for image in images]
    whole = Shots(learned=(frames, text.frames()), tested=None, rank=0, world=1, passes=1, test_every=9, steps=50)
    assert set(seen) == {shelf.kept[frame].tobytes() for frame in whole.at(17).tolist()}


def test_what_shows_nothing_asks_for_nothing() -> None:
    shelf = Shelf()
    feed = Feed(shelf.streamed(EPISODES), tiny_policy().codecs, shares={}, batch=4, images=False, seed=0)
    assert feed.frames() is None
