"""Every recorded frame comes back, in order and at its exact time."""

from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
import pytest

from tests.unit.data.bundles import draw, read_number
from volano.data.video import VideoWriter, decode, encode, encoder_options
from volano.errors import Code, DataError


@pytest.mark.parametrize("rate_hz", [5.0, 20.0, 29.97, 12.5])
def test_frames_come_back_in_order(tmp_path: Path, rate_hz: float) -> None:
    path = tmp_path / "camera.mp4"
    assert encode(path, (draw(number, 48, 64) for number in range(40)), rate_hz) == 40
    assert [read_number(frame) for frame in decode(path)] == list(range(40))


def test_frames_stand_at_exact_times_with_short_groups(tmp_path: Path) -> None:
    path = tmp_path / "camera.mp4"
    encode(path, (draw(number, 48, 64) for number in range(40)), 29.97)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = list(container.decode(stream))
    rate = Fraction(29.97).limit_denominator(1001)
    times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base is not None]
    assert times == [pytest.approx(number / rate, abs=1e-4) for number in range(40)]
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert keys[0] == 0
    assert max(np.diff([*keys, 40])) <= 15


def test_the_code_that_writes_other_bytes_now_and_then_is_left_out(tmp_path: Path) -> None:
    """x264 tells which instructions it uses; with AVX-512 the same frames do not always make the same bytes."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            encode(tmp_path / "camera.mp4", [draw(0, 48, 64)], 10)
    finally:
        av.logging.set_level(level)
    used = [text for _, name, text in lines if name == "libx264" and "cpu capabilities" in text]
    assert used
    assert not [text for text in used if "AVX512" in text]


def test_only_where_it_would_be_used_is_that_code_left_out() -> None:
    plain, ours = {"g": "15"}, {"x264-params": "cabac=0"}
    assert encoder_options(plain, "avx2") == plain
    assert encoder_options(plain, "avx512") == {"g": "15", "x264-params": "asm=avx2"}
    assert encoder_options(ours, "avx512") == {"x264-params": "cabac=0:asm=avx2"}


def test_pictures_stay_recognisable(tmp_path: Path) -> None:
    row = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack([np.tile(row, (64, 1)), np.tile(row[:, None], (1, 64)), np.full((64, 64), 128, np.uint8)], axis=2)
    encode(tmp_path / "a.mp4", [image] * 3, 10)
    for frame in decode(tmp_path / "a.mp4"):
        assert np.abs(frame.astype(int) - image).mean() < 4


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((48, 64, 3), "f4"),
        ((48, 64), "u1"),
        ((48, 64, 4), "u1"),
        ((47, 64, 3), "u1"),
        ((48, 65, 3), "u1"),
        ((0, 64, 3), "u1"),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as writer, pytest.raises(DataError) as caught:
        writer.add(np.zeros(shape, dtype))
    assert caught.value.code is Code.DATA_CONTRACT


def test_another_size_is_refused_and_the_rest_kept(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.add(draw(1, 48, 64))
        with pytest.raises(DataError):
            writer.add(draw(2, 64, 64))
        writer.add(draw(3, 48, 64))
    assert [read_number(frame) for frame in decode(tmp_path / "a.mp4")] == [1, 3]


def test_a_cut_file_does_not_decode(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode(path, (draw(number, 48, 64) for number in range(20)), 10)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError) as caught:
        list(decode(path))
    assert caught.value.code is Code.DATA_TRUNCATED_VIDEO
