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
    ("frames", "height", "width"), [(1, 64, 64), (63, 2, 2), (64, 64, 64), (65, 10, 480), (130, 96, 130)]
)
def test_numbers_are_those_of_the_thinned_brightness(tmp_path: Path, frames: int, height: int, width: int) -> None:
    """Fewer frames than a batch holds, as many, and more."""
    path, random = tmp_path / "a.mp4", np.random.default_rng(0)
    encode(path, random.integers(0, 255, (frames, height, width, 3)).astype(np.uint8), 10)
    with av.open(str(path)) as container:
        planes = [
            np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)[:height, :width]
            for frame in container.decode(video=0)
        ]
    points = np.array(planes, float)[:, :: -(-height // 32), :: -(-width // 32)]
    found = summary(path, frames, height, width)
    assert found.spread == pytest.approx(points.std(axis=(1, 2)), abs=0.01)
    assert found.black == pytest.approx((points <= BLACK).mean(axis=(1, 2)))
    assert found.change[0] == np.inf
    assert found.change[1:] == pytest.approx(np.abs(np.diff(points, axis=0)).mean(axis=(1, 2)), abs=1e-4)
    assert found.time == pytest.approx(np.arange(frames) / 10)
    assert found.thumbnail.shape == (frames, min(8, height), min(8, width))


def test_thumbnails_show_where_it_is_bright(tmp_path: Path) -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:32, 64:] = 255
    encode(tmp_path / "a.mp4", [image] * 3, 10)
    thumbnail = summary(tmp_path / "a.mp4", 3, 64, 128).thumbnail[0]
    assert (thumbnail[:3, 5:] > 200).all()
    assert (thumbnail[5:] < 40).all()
    assert (thumbnail[:, :3] < 40).all()
