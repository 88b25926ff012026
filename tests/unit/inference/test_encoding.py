"""Files that a robot makes of its images are read as what they were made of."""

import numpy as np
import pytest

from tests.unit.data.bundles import draw, read_number
from volano.data.readers.image import coding, decode_image
from volano.inference.encoding import Encoder

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_a_png_is_exact_for_every_image() -> None:
    encoder = Encoder("png", 48, 64)
    for image in (NOISE, NOISE[::-1], draw(2741, 48, 64)):
        assert np.array_equal(decode_image(encoder.encode(image), 48, 64), image)


@pytest.mark.parametrize("number", [0, 2741, 4095])
def test_a_jpeg_is_near(number: int) -> None:
    encoder, image = Encoder("jpeg", 48, 64), draw(number, 48, 64)
    for _ in range(2):
        file = encoder.encode(image)
        assert coding(file) == "jpeg"
        found = decode_image(file, 48, 64)
        assert read_number(found) == number
        assert np.abs(found.astype(float) - image).mean() < 2
