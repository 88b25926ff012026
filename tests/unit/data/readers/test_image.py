"""Single images: PNG exactly, JPEG nearly, and sizes that are compared before anything is decoded."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.bundles import draw, read_number
from tests.unit.data.readers.sources import png
from volano.data.readers.image import coding, decode_image, size
from volano.errors import Code, DataError

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_png_keeps_every_value() -> None:
    data = png(IMAGE)
    assert (coding(data), size(data)) == ("png", (48, 64))
    assert np.array_equal(decode_image(data, 48, 64), IMAGE)


def test_jpeg_keeps_the_picture() -> None:
    data = png(draw(2741, 48, 64), "mjpeg")
    assert (coding(data), size(data)) == ("jpeg", (48, 64))
    assert read_number(decode_image(data, 48, 64)) == 2741


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.DATA_FOREIGN),
        (b"GIF89a", Code.DATA_FOREIGN),
        (png(IMAGE)[:200], Code.DATA_FOREIGN),
        (png(IMAGE)[:20], Code.DATA_FOREIGN),
        (b"\xff\xd8\xff\xc0", Code.DATA_FOREIGN),
        (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 100, Code.DATA_FOREIGN),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1 << 20, 1 << 20), Code.DATA_SIZE),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 0, 1), Code.DATA_FOREIGN),
    ],
)
def test_refused(data: bytes, code: Code) -> None:
    with pytest.raises(DataError) as caught:
        decode_image(data, 48, 64)
    assert caught.value.code == code


def test_an_image_that_holds_another_size_than_its_header() -> None:
    data = bytearray(png(IMAGE))
    data[16:24] = struct.pack(">II", 32, 48)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(DataError):
        decode_image(bytes(data), 48, 64)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_GROWTH = """
import sys
from pathlib import Path
from volano.data.readers.image import decode_image

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

sound, hostile = (Path(name).read_bytes() for name in sys.argv[1:])
expected = decode_image(sound, 48, 64)
before = peak()
assert (decode_image(hostile, 48, 64) == expected).all()
print(peak() - before)
"""
"""Says by how many KiB the most memory that a process ever had grows with the second picture."""


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_what_stands_beside_a_picture_is_never_unpacked(kind: bytes, tmp_path: Path) -> None:
    sound = png(IMAGE)
    bomb = chunk(kind, b"k\0\0" + zlib.compress(bytes(256 << 20), 1))
    paths = [tmp_path / "sound", tmp_path / "hostile"]
    for path, data in zip(paths, (sound, sound[:33] + bomb + sound[33:]), strict=True):
        path.write_bytes(data)
    process = subprocess.run(
        [sys.executable, "-c", _GROWTH, *map(str, paths)], check=True, capture_output=True, text=True
    )
    assert int(process.stdout) < 64 << 10


def test_no_room_is_made_for_a_picture_within_a_picture() -> None:
    sound = png(draw(2741, 48, 64), "mjpeg")
    at = sound.index(b"\xff\xc0")
    second = sound[at : at + 5] + struct.pack(">HH", 8000, 8000) + sound[at + 9 : sound.index(b"\xff\xda")]
    for data in (sound[:at] + second + sound[at:], sound[:-2] + second + sound[at:]):
        with pytest.raises(DataError):
            decode_image(data, 48, 64)
