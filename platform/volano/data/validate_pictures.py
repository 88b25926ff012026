"""Whether a camera looked at the world: pure checks over the summary of a video that was gathered while it was decoded.

A dark room, a wall close by and a scene at rest are pictures. What is refused is a picture that no working camera
gives, for a good part of an episode: a few such frames are a flash, or a camera that starts.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from volano.data.finding import Finding
from volano.data.steps import Steps
from volano.data.validate_motion import runs, travel
from volano.data.video_summary import VideoSummary
from volano.embodiment.contract import Camera, Embodiment
from volano.errors import Code

_FEWEST_FRAMES, _FRAME_SHARE = 5, 0.2
"""How many frames, and which share of them, must be bad."""
_BLACK_SHARE = 0.98
"""Share of a frame's points; a night scene keeps a few lights."""
_WHITE_SHARE = 0.9
"""Share of a frame's points; against a bright sky the ground is left."""
_FLAT_SPREAD = 0.6
"""Brightness levels: a plain wall has two and more, by its light and by the sensor's noise."""
_SAME, _SAME_KEY = 0.3, 2.0
"""Brightness levels by which a repeated picture may change: codecs refine it, and code it anew in a key frame. Pictures
of robots that move slowly change as little, so the latter needs company."""
_FROZEN_S, _FROZEN_TRAVEL = 0.5, 0.25
"""How long a picture may stand still while a state moves by this share of its range: a car that brakes on an empty road
was seen to change nothing in its picture for more than a second, over an eighth of the range of its speed."""
_WHOLE, _WHOLE_TRAVEL = 0.9, 0.05
"""The same for a picture that stands still for this share of an episode: no road is that empty."""
_MOVES = 0.1
"""Share of its range by which a state moves when a picture should."""
_STUTTER = 0.25
"""Runs of repeated pictures over all frames: a half when the camera has half the rate, a third at a third of it."""
_VIDEO_TOLERANCE = 0.2
"""Share of the period by which the time between two frames may differ from the contract's."""
_ALIKE = 1.0
"""Brightness levels between thumbnails of one picture; the two eyes of a stereo pair differ by more."""
_CONTENT = 5.0
"""Spread of a thumbnail that can be told from another one."""


def check_black(pictures: VideoSummary, _steps: Steps, _embodiment: Embodiment) -> Finding | None:
    """Not black."""
    return _many(pictures, pictures.black >= _BLACK_SHARE, Code.DATA_BLACK_IMAGE, "are black")


def check_white(pictures: VideoSummary, _steps: Steps, _embodiment: Embodiment) -> Finding | None:
    """Not over-exposed."""
    return _many(pictures, pictures.white >= _WHITE_SHARE, Code.DATA_WHITE_IMAGE, "are over-exposed")


def check_flat(pictures: VideoSummary, _steps: Steps, _embodiment: Embodiment) -> Finding | None:
    """Not of one colour, as what a converter shows that has no signal."""
    return _many(pictures, pictures.spread <= _FLAT_SPREAD, Code.DATA_FLAT_IMAGE, "have one brightness only")


def check_frozen(pictures: VideoSummary, steps: Steps, embodiment: Embodiment) -> Finding | None:
    """The picture does not stand still while the robot moves."""
    shortest = max(_FEWEST_FRAMES, _FROZEN_S * embodiment.rate_hz)
    cells = pictures.thumbnail.astype(np.int16)
    for start, end in runs(_same(pictures)):
        moved = travel(steps, embodiment, start, end)
        enough = _WHOLE_TRAVEL if end - start >= _WHOLE * len(pictures.change) else _FROZEN_TRAVEL
        drift = np.abs(cells[end - 1] - cells[start]).mean()  # a slow scene changes little by little, and adds up
        if end - start >= shortest and moved >= enough and drift <= _ALIKE:
            evidence = f"{pictures.name} shows one picture from frame {start} to {end}"
            return Finding.of(Code.DATA_FROZEN_CAMERA, f"{evidence} while a state moves by {moved:.0%} of its range")
    return None


def check_repeated(pictures: VideoSummary, steps: Steps, embodiment: Embodiment) -> Finding | None:
    """The camera has the contract's rate: its pictures are not repeated in between."""
    same = _same(pictures)
    repeats = len(runs(same))
    still = travel(steps, embodiment, 0, len(steps.state)) < _MOVES
    if still or repeats < max(_FEWEST_FRAMES, _STUTTER * len(same)):
        return None
    return Finding.of(
        Code.DATA_REPEATED_FRAMES, f"{pictures.name} repeats its picture {repeats} times within {len(same)} frames"
    )


def check_video_clock(pictures: VideoSummary, _steps: Steps, embodiment: Embodiment) -> Finding | None:
    """Frames stand at the contract's rate in the video: whoever looks one up by its time finds the right one."""
    gaps = np.diff(pictures.time) * embodiment.rate_hz
    wrong = ~(np.abs(gaps - 1) <= _VIDEO_TOLERANCE)  # also where there is no time
    if not wrong.any():
        return None
    at = int(wrong.argmax())
    return Finding.of(
        Code.DATA_VIDEO_CLOCK, f"{pictures.name}: frame {at + 1} comes {gaps[at]:.2f} periods after the one before"
    )


def check_order_of_cameras(sizes: dict[str, tuple[int, int] | None], cameras: tuple[Camera, ...]) -> Finding | None:
    """No two videos have each other's size. Cameras of one size cannot be told apart from a single episode."""
    for one, two in combinations(cameras, 2):
        wanted = (one.height, one.width), (two.height, two.width)
        if wanted[0] != wanted[1] and (sizes[two.name], sizes[one.name]) == wanted:
            return Finding.of(Code.DATA_SWAPPED_CAMERAS, f"{one.name} has the size of {two.name}, and the reverse")
    return None


def check_same_pictures(videos: list[VideoSummary]) -> Finding | None:
    """No two cameras show the same."""
    for one, two in combinations(videos, 2):
        if one.thumbnail.shape != two.thumbnail.shape:
            continue
        cells = one.thumbnail.astype(np.int16)
        apart = np.abs(cells - two.thumbnail).mean(axis=(1, 2))
        if np.median(apart) <= _ALIKE and np.median(cells.std(axis=(1, 2))) >= _CONTENT:
            return Finding.of(Code.DATA_SAME_PICTURES, f"{one.name} and {two.name} show the same pictures")
    return None


def _same(pictures: VideoSummary) -> NDArray[np.bool_]:
    """Whether frame k + 1 repeats frame k, (N - 1,). A key frame is coded anew, so that a repeated picture changes
    there; it counts where the pictures on both sides of it are repeated, too."""
    change, key = pictures.change[1:], pictures.key[1:]
    same = change <= _SAME
    before, after = np.concatenate(([True], same[:-1])), np.concatenate((same[1:], [True]))
    return np.asarray(same | (key & (change <= _SAME_KEY) & before & after))


def _many(pictures: VideoSummary, bad: NDArray[np.bool_], code: Code, what: str) -> Finding | None:
    count, frames = int(bad.sum()), len(bad)
    if count < max(_FEWEST_FRAMES, _FRAME_SHARE * frames):
        return None
    return Finding.of(code, f"{count} of {frames} frames of {pictures.name} {what}")
