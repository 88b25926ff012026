"""What is counted of pictures: the colours that a reader of the video sees, at no more than 64 x 64 points."""

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from volano.data.lerobot_statistics import image_statistics
from volano.data.levels import LevelCounter, levels_text, parse_levels
from volano.data.video import ColourConverter


def frame_of(image: NDArray[np.uint8]) -> av.VideoFrame:
    return ColourConverter("yuv420p").convert(av.VideoFrame.from_ndarray(image, format="rgb24"))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 96), (480, 640), (48, 66), (2, 2)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90), (10, 140, 60)])
def test_a_colour_is_counted_as_it_is_seen(height: int, width: int, colour: tuple[int, int, int]) -> None:
    frame = frame_of(np.full((height, width, 3), colour, np.uint8))
    counter = LevelCounter(height, width)
    counter.add(frame)
    seen = ColourConverter("rgb24").array(frame)[0, 0]
    assert counter.counts.sum(axis=1).tolist() == [counter.counts[0].sum()] * 3
    assert 0 < counter.counts[0].sum() <= 64 * 64
    for counts, value in zip(counter.counts, seen.astype(int), strict=True):
        assert np.abs(np.flatnonzero(counts) - value).max() <= 4


def test_statistics_are_those_of_all_pixels() -> None:
    random = np.random.default_rng(3)
    shade = np.linspace(20, 230, 480)[:, None, None] * np.array([1.0, 0.5, 0.25]) + np.zeros((480, 640, 3))
    counter, every = LevelCounter(480, 640), np.zeros((3, 256), np.int64)
    for _ in range(5):
        image = np.clip(shade + random.normal(0, 5, (480, 640, 1)), 0, 255).astype(np.uint8)
        frame = frame_of(image)
        counter.add(frame)
        for colour, values in enumerate(ColourConverter("rgb24").array(frame).reshape(-1, 3).T):
            every[colour] += np.bincount(values, minlength=256)
    thin, full = image_statistics(counter.counts), image_statistics(every)
    for name in ("mean", "std", "q10", "q50", "q90"):
        assert np.abs(np.array(thin[name]) - np.array(full[name])).max() < 0.015, name


def test_counts_survive_their_text() -> None:
    counts = np.arange(3 * 256).reshape(3, 256)
    counts[1:] = counts[0]
    assert np.array_equal(parse_levels(levels_text(counts)), counts)
