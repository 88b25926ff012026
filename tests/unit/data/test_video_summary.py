"""A video's summary says what its pictures are like, whatever their size, and costs one pass."""

from pathlib import Path

import av
import numpy as np
import pytest

from volano.data.validate_video import read_video
from volano.data.video import encode
from volano.data.video_summary import BLACK, VideoSummary
from volano.embodiment.contract import Camera


def summary(path: Path, frames: int, height: int, width: int) -> VideoSummary:
    found = read_video(path, Camera(name="ego", height=height, width=width), frames=frames)
    assert isinstance(found, VideoSummary)
    return found


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 32, 32), (63, 2, 2), (64, 24, 32), (65, 10, 480), (130, 96, 130)]
)
def test_numbers_are_those_of_the_brightness(tmp_path: Path, frames: int, height: int, width: int) -> None:
    """Fewer frames than a batch holds, as many, and more; exactly where every point is looked at."""
    path, random = tmp_path / "a.mp4", np.random.default_rng(0)
    encode(path, random.integers(0, 255, (frames, height, width, 3)).astype(np.uint8), 10)
    with av.open(str(path)) as container:
        planes = [
            np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)[:height, :width]
            for frame in container.decode(video=0)
        ]
    levels, found = np.array(planes, float), summary(path, frames, height, width)
    near = 0.001 if max(height, width) <= 32 else 0.2
    assert found.spread == pytest.approx(levels.std(axis=(1, 2)), rel=near)
    assert found.black == pytest.approx((levels <= BLACK).mean(axis=(1, 2)), abs=near)
    assert found.change[0] == np.inf
    assert found.change[1:] == pytest.approx(np.abs(np.diff(levels, axis=0)).mean(axis=(1, 2)), rel=near)
    assert found.time == pytest.approx(np.arange(frames) / 10)
    assert found.thumbnail.shape == (frames, min(8, height), min(8, width))


def test_a_pattern_cannot_hide_between_the_points(tmp_path: Path) -> None:
    """Edges eight pixels apart, which pass by a pixel per frame."""
    edges = np.repeat(np.random.default_rng(0).integers(40, 200, (8, 16)), 8, axis=1).repeat(8, axis=0)
    images = [np.repeat(edges[:, k : k + 64, None], 3, axis=2).astype(np.uint8) for k in range(20)]
    encode(tmp_path / "a.mp4", images, 10)
    assert summary(tmp_path / "a.mp4", 20, 64, 64).change.min() > 1


def test_thumbnails_show_where_it_is_bright(tmp_path: Path) -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:32, 64:] = 255
    encode(tmp_path / "a.mp4", [image] * 3, 10)
    thumbnail = summary(tmp_path / "a.mp4", 3, 64, 128).thumbnail[0]
    assert (thumbnail[:3, 5:] > 200).all()
    assert (thumbnail[5:] < 40).all()
    assert (thumbnail[:, :3] < 40).all()
