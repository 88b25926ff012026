"""A frame that is asked for by its number is that frame, bit for bit, wherever it stands; other bytes are none."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER, Draft, read_number, write_bundle
from volano.data.footage import Footage
from volano.data.frames import FrameReader, UnreadableError
from volano.data.lerobot import SourceEpisode, write
from volano.data.lerobot_read import places, read
from volano.data.video import ImageArray
from volano.errors import Code, DataError
from volano.storage.ranges import Part, Ranges, open_ranges

_SETTINGS = [(), (("bf", "3"), ("b-adapt", "0")), (("g", "250"),), (("g", "1"),), (("intra-refresh", "1"),), ()]
"""Joined episodes whose groups are short, long, of one frame, and none but the first."""


class Counting:
    """Ranges that remember what was read."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges, self.seen = ranges, Counter[tuple[str, int]]()

    def read(self, key: str, parts: Sequence[Part]) -> list[memoryview]:
        for offset, size in parts:
            self.seen.update((key, place) for place in range(offset, offset + size))
        return self.ranges.read(key, parts)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version's folder with one dataset."""
    folder = tmp_path_factory.mktemp("version")
    sources = []
    for number, options in enumerate(_SETTINGS):
        draft = Draft(
            seed=number, attempt=f"a-{number}", frames=40 + number, first_number=100 * number, video_options=options
        )
        manifest = write_bundle(folder / f"bundle-{number}", draft)
        sources.append(SourceEpisode(folder=folder / f"bundle-{number}", manifest=manifest, weight=1.0))
    write(folder / "rover", ROVER, sources)
    return folder


def truth(version: Path, footage: Footage) -> dict[int, ImageArray]:
    """Every frame as whoever decodes all of it sees it."""
    files, found = footage.first_frames(), dict[int, ImageArray]()
    for episode, videos in zip(read(version / "rover"), places(version / "rover"), strict=True):
        for camera, (path, before) in videos.items():
            for tick, image in enumerate(episode.images[camera]):
                found[files[f"rover/{path}"] + before + tick] = image
    return found


def test_every_frame_of_every_camera_is_that_frame(version: Path) -> None:
    footage = Footage.read(version, {"rover": ROVER})
    frames = truth(version, footage)
    assert sorted(frames) == list(range(int(footage.starts[-1])))
    counting = Counting(open_ranges(str(version)))
    reader = FrameReader(footage, counting, str)
    asked = np.random.default_rng(0).permutation(len(frames))
    steps = [np.array(part) for part in np.split(asked, range(7, len(asked), 7))] + [asked[:3], asked[:0]]
    for windows in ([steps], [steps[:40], steps[40:]]):
        counting.seen.clear()
        for step, row in zip(steps, reader.read(windows), strict=True):
            for frame, image in zip(step.tolist(), footage.images(step, row), strict=True):
                assert np.array_equal(image, frames[frame]), frame
                assert read_number(image) == read_number(frames[frame])
        assert set(counting.seen.values()) == {1}, "a byte was read more than once"
        assert sum(counting.seen.values()) == int(footage.sizes.sum())
    assert list(reader.read([])) == []


@pytest.mark.parametrize("together", [1000, 2, 1])
def test_a_group_is_read_once_for_a_window_and_the_next(version: Path, together: int) -> None:
    """However many windows a call brings, when it is told which comes after them."""
    footage = Footage.read(version, {"rover": ROVER})
    frames, random = truth(version, footage), np.random.default_rng(1)
    steps = [random.integers(0, 60, 9) + place for place in range(0, len(frames) - 60, 5) for _ in range(3)]
    windows = [steps[place : place + 4] for place in range(0, len(steps), 4)]
    counting = Counting(open_ranges(str(version)))
    reader = FrameReader(footage, counting, str)
    ends = range(together, len(windows) + together, together)
    said = [(windows[end - together : end], (windows[end : end + 1] or [[]])[0]) for end in ends]
    rows = [row for call, after in said for row in reader.read(call, after)]
    for step, row in zip(steps, rows, strict=True):
        for frame, image in zip(step.tolist(), footage.images(step, row), strict=True):
            assert np.array_equal(image, frames[frame]), frame
    last, reads = dict[int, int](), Counter[int]()
    for number, window in enumerate(windows):
        for group in set(footage.groups_of(np.concatenate(window)).tolist()):
            if last.get(group, -2) < number - 1:
                last[group] = number
                reads[group] += 1
    assert max(reads.values()) > 1, "no group is needed again later"
    for group in range(len(footage.files)):
        one = footage.group(group)
        assert counting.seen[one.path, one.offset + one.size // 2] == reads[group]


def test_another_window_than_was_said_comes_as_well(version: Path) -> None:
    footage = Footage.read(version, {"rover": ROVER})
    frames, reader = truth(version, footage), FrameReader(footage, open_ranges(str(version)), str)
    one, two, three = ([np.arange(first, first + 50)] for first in (0, 30, 60))
    left = reader.read([one], two)
    for asked in ([one], [three], [two], [], [two, one], [three]):
        rows = [*reader.read(asked, two)]
        assert len(rows) == len(asked)
        for window, row in zip(asked, rows, strict=True):
            for frame, image in zip(window[0].tolist(), footage.images(window[0], row), strict=True):
                assert np.array_equal(image, frames[frame]), frame
        next(left, None)  # a call that nobody needs any more, and that ends late


def test_a_single_frame_costs_its_group_alone(version: Path) -> None:
    footage = Footage.read(version, {"rover": ROVER})
    counting = Counting(open_ranges(str(version)))
    for frame in (0, 17, 200):
        counting.seen.clear()
        next(FrameReader(footage, counting, str).read([[np.array([frame])]]))
        group = footage.group(int(footage.groups_of(np.array([frame]))[0]))
        assert sum(counting.seen.values()) == group.size


def test_other_bytes_are_refused_by_the_frames_they_spoil_alone(version: Path, tmp_path: Path) -> None:
    footage = Footage.read(version, {"rover": ROVER})
    group = footage.group(3)
    for path in footage.paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((version / path).read_bytes())
    spoilt = bytearray((tmp_path / group.path).read_bytes())
    spoilt[group.offset + group.size // 2] ^= 1
    (tmp_path / group.path).write_bytes(spoilt)
    reader = FrameReader(footage, open_ranges(str(tmp_path)), str)
    next(reader.read([[np.arange(group.first)]]))
    with pytest.raises(UnreadableError) as refused:
        next(reader.read([[np.array([group.first + 1])]]))
    assert (refused.value.error.code, refused.value.frame) == (Code.STORE_CORRUPT, group.first)
    following = reader.read([[np.array([footage.group(number).first]) for number in (2, 4, 3, 5)]])  # read together
    assert [len(next(following)) for _ in range(2)] == [int(footage.begins_of(np.arange(1))[-1])] * 2
    with pytest.raises(UnreadableError) as refused:
        next(following)
    assert refused.value.frame == group.first
    (tmp_path / group.path).write_bytes(spoilt[: group.offset])
    with pytest.raises(UnreadableError) as refused:
        next(reader.read([[np.array([group.first])]]))
    assert refused.value.error.code is Code.STORE_CORRUPT
    (tmp_path / group.path).unlink()
    with pytest.raises(UnreadableError) as refused:
        next(reader.read([[np.array([group.first])]]))
    assert refused.value.error.code is Code.STORE_MISSING


def test_a_version_without_its_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E-DATA-013"):
        Footage.read(tmp_path, {"rover": ROVER})
