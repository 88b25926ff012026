"""An image may be named only where the gateway has exactly it: this connection, this episode, this question."""

from typing import Any

import numpy as np
import pytest

from tests.unit.data.bundles import ROVER
from tests.unit.data.readers.sources import png
from tests.unit.inference.test_session import identity, observation
from volano.errors import Code, WireError
from volano.inference.kept import Kept, Named, digest
from volano.inference.protocols.dialect import Coding, Terms
from volano.inference.protocols.spellings import Picture

EGO, REAR = "observation/image/ego", "observation/image/rear"
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def kept(coding: Coding = "raw", *, unchanged: bool = True) -> Kept:
    return Kept(ROVER, Terms(coding=coding, unchanged=unchanged))


def sent(ego: Any = IMAGE, **place: Any) -> dict[str, Any]:
    return observation(**{EGO: ego, "volano": identity(**place)})


def take(held: Kept, seq: int, message: dict[str, Any], **opened: Any) -> dict[str, Any]:
    """As a gateway does it."""
    found = held.completed(message, seq)
    held.keep(message, found | opened, seq)
    return found


def refused(held: Kept, seq: int, message: dict[str, Any]) -> Code:
    with pytest.raises(WireError) as caught:
        held.completed(message, seq)
    return caught.value.code


def test_an_image_is_found_by_its_name_again_and_again() -> None:
    held = kept()
    take(held, 5, sent())
    for seq in (6, 7):
        found = take(held, seq, sent(Named(seq=5, sha256=digest(IMAGE))))
        assert np.array_equal(found[EGO], IMAGE)


def test_a_file_is_named_by_its_bytes_and_is_not_decoded_again() -> None:
    held, file = kept("png"), Picture(coding="png", data=png(IMAGE))
    take(held, 1, sent(file), **{EGO: IMAGE})
    assert held.completed(sent(Named(seq=1, sha256=digest(file))), 2)[EGO] is IMAGE
    assert refused(held, 3, sent(Named(seq=1, sha256=digest(IMAGE)))) is Code.WIRE_IMAGE


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (Named(seq=4, sha256=digest(IMAGE)), {}),
        (Named(seq=5, sha256=digest(IMAGE[::-1])), {}),
        (Named(seq=5, sha256=digest(IMAGE)), {"episode": "attempt-2"}),
    ],
    ids=["another question", "another image", "another episode"],
)
def test_any_other_name_is_refused_and_the_whole_image_is_taken(name: Named, place: dict[str, Any]) -> None:
    held = kept()
    take(held, 5, sent())
    assert refused(held, 6, sent(name, **place)) is Code.WIRE_IMAGE
    assert np.array_equal(take(held, 7, sent(IMAGE[::-1], **place))[EGO], IMAGE[::-1])
    assert np.array_equal(held.completed(sent(Named(seq=7, sha256=digest(IMAGE[::-1])), **place), 8)[EGO], IMAGE[::-1])


def test_the_newest_image_of_a_camera_is_the_only_one_that_is_kept() -> None:
    held = kept()
    take(held, 1, sent())
    take(held, 2, sent(IMAGE[::-1]))
    assert refused(held, 3, sent(Named(seq=1, sha256=digest(IMAGE)))) is Code.WIRE_IMAGE


def test_nothing_is_kept_that_the_contract_does_not_have() -> None:
    held, large = kept(), np.zeros((65, 64, 3), np.uint8)
    take(held, 1, sent(large) | {"observation/image/top": IMAGE})
    assert refused(held, 2, sent(Named(seq=1, sha256=digest(large)))) is Code.WIRE_IMAGE
    named = Named(seq=1, sha256=digest(IMAGE))
    assert held.completed(sent() | {"observation/image/top": named}, 3)["observation/image/top"] is named


def test_what_was_not_agreed_on_is_refused() -> None:
    held = kept(unchanged=False)
    take(held, 1, sent())
    assert refused(held, 2, sent(Named(seq=1, sha256=digest(IMAGE)))) is Code.WIRE_IMAGE
    assert refused(kept("jpeg"), 1, sent(Picture(coding="png", data=png(IMAGE)))) is Code.WIRE_FRAME


def test_questions_are_counted_upwards() -> None:
    held = kept()
    take(held, 5, sent())
    assert refused(held, 5, sent()) is Code.WIRE_OBSERVATION


def test_what_is_kept_holds_nothing_of_its_frame() -> None:
    """A frame lies in memory that is shared, and is free when nobody looks at it any more."""
    held, frame = kept(), bytearray(IMAGE.tobytes())
    view = np.frombuffer(memoryview(frame), np.uint8).reshape(IMAGE.shape)
    take(held, 1, sent(view))
    frame[:] = bytes(len(frame))
    assert np.array_equal(held.completed(sent(Named(seq=1, sha256=digest(IMAGE))), 2)[EGO], IMAGE)
