"""Images that robots send as PNG or JPEG: the size in the file's header is held against the contract before anything is
decoded, and only images that the contract asks for are.

The decoder is FFmpeg's for exactly these two codings, without containers (`volano.data.readers.image`). It takes
milliseconds: call it beside an event loop, never in it.
"""

from collections.abc import Mapping
from typing import Any

from volano.data.readers.foreign import ImageArray
from volano.data.readers.image import coding, decode_image, size
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError, WireError
from volano.inference.protocols.spellings import Picture
from volano.inference.session import image_key

_DEPTH, _COLOUR = 24, 25
"""Where a PNG says how many bits a value has, and what a pixel is."""
_RGB = 2


def has_pictures(observation: Mapping[str, Any]) -> bool:
    """Whether an observation has images to decode."""
    return any(isinstance(value, Picture) for value in observation.values())


def opened(embodiment: Embodiment, observation: Mapping[str, Any]) -> dict[str, Any]:
    """The observation with the contract's images as arrays, uint8 (height, width, 3); others stay as they are.

    Raises ContractError(E-CONTRACT-001) for an image of another size or kind, WireError(E-WIRE-001) for a damaged one.
    """
    sizes = {image_key(camera.name): (camera.height, camera.width) for camera in embodiment.cameras}
    return {
        key: _decoded(embodiment.tag, key, value, sizes[key]) if isinstance(value, Picture) and key in sizes else value
        for key, value in observation.items()
    }


def _decoded(tag: str, key: str, picture: Picture, expected: tuple[int, int]) -> ImageArray:
    data = picture.data
    try:
        if coding(data) != picture.coding:
            raise WireError(
                Code.WIRE_FRAME, f"field {key!r} is not the {picture.coding} it says", "name the image's coding"
            )
        sent = size(data)
        plain = picture.coding == "jpeg" or (data[_DEPTH : _COLOUR + 1] == bytes([8, _RGB]))
        if sent != expected or not plain:
            shown = f"a {picture.coding} of {sent[0]} x {sent[1]}" + ("" if plain else " that is not 8-bit RGB")
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"{tag}: field {key!r}: the robot sent {shown}, the contract has {expected[0]} x {expected[1]} RGB",
                "resize the image on the robot, and send three channels of 8 bits",
            )
        image = decode_image(data, *expected)
    except DataError as error:
        raise WireError(Code.WIRE_FRAME, f"field {key!r}: {error.cause}", "send a whole PNG or JPEG") from error
    image.flags.writeable = False
    return image
