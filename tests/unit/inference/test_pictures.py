"""Image files are held against the contract before they are decoded, and come out as what was put in."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER, draw, read_number
from tests.unit.data.readers.sources import png
from volano.errors import Code, ContractError, WireError
from volano.inference.pictures import has_pictures, opened
from volano.inference.protocols.spellings import Picture
from volano.inference.session import check_observation

EGO, REAR = "observation/image/ego", "observation/image/rear"
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
NUMBERED = draw(2741, 48, 64)


def observation(ego: Picture) -> dict[str, object]:
    rear = Picture(coding="jpeg", data=png(NUMBERED, "mjpeg"))
    return {EGO: ego, REAR: rear, "observation/state": np.zeros(2, np.float32), "prompt": "go"}


def test_pictures_of_the_contract_become_its_images() -> None:
    sent = observation(Picture(coding="png", data=png(IMAGE)))
    found = opened(ROVER, sent)
    check_observation(ROVER, found)
    assert (has_pictures(sent), has_pictures(found)) == (True, False)
    assert np.array_equal(found[EGO], IMAGE)
    assert read_number(found[REAR]) == 2741
    assert not found[EGO].flags.writeable


def test_a_picture_that_nobody_asks_for_is_not_decoded() -> None:
    bomb = Picture(coding="png", data=b"\x89PNG")
    found = opened(ROVER, {"observation/image/top": bomb})
    assert found["observation/image/top"] is bomb
    with pytest.raises(ContractError):
        check_observation(ROVER, observation(Picture(coding="png", data=b"")) | found)


@pytest.mark.parametrize(
    ("data", "shown"),
    [(png(NUMBERED), "48 x 64"), (png(IMAGE)[:25] + b"\x06" + png(IMAGE)[26:], "8-bit RGB"), (png(IMAGE)[:24], "RGB")],
)
def test_another_size_or_kind_is_refused_with_both_sides(data: bytes, shown: str) -> None:
    with pytest.raises(ContractError) as caught:
        opened(ROVER, observation(Picture(coding="png", data=data)))
    assert caught.value.code is Code.CONTRACT_MISMATCH
    assert all(side in caught.value.cause for side in (EGO, shown, "64 x 64"))


HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBB", 13, b"IHDR", 1 << 20, 1 << 20, 8, 2) + bytes(100)


@pytest.mark.parametrize(
    "picture",
    [
        Picture(coding="png", data=b""),
        Picture(coding="png", data=HUGE),
        Picture(coding="png", data=png(IMAGE)[:400]),
        Picture(coding="png", data=png(NUMBERED, "mjpeg")),
        Picture(coding="jpeg", data=b"\xff\xd8\xff\xd9"),
        Picture(coding="jpeg", data=png(IMAGE)),
        Picture(coding="png", data=png(IMAGE)[:33] + b"\x00\x00\x00\x04IDAT" + zlib.compress(b"")[:4] + bytes(4)),
    ],
)
def test_a_damaged_picture_is_refused_with_a_code(picture: Picture) -> None:
    with pytest.raises(WireError) as caught:
        opened(ROVER, observation(picture))
    assert caught.value.code is Code.WIRE_FRAME
    assert EGO in caught.value.cause


def test_the_sizes_are_the_robots_own() -> None:
    other = replace(ROVER, cameras=ROVER.cameras[:1])
    found = opened(other, observation(Picture(coding="png", data=png(IMAGE))))
    assert isinstance(found[REAR], Picture)
