"""Messages of an MCAP file as plain values: ROS 2 (CDR with its `ros2msg` schema), Protobuf and JSON, flattened.

A message becomes named leaves, `position` or `pose.position.x`: numbers, lists of numbers, texts, bytes. Schemas come
from the file and are as hostile as its messages; the libraries that interpret them build no code from them.
"""

import array
import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message
from mcap.decoder import DecoderFactory
from mcap.records import Channel, Schema
from mcap_protobuf.decoder import DecoderFactory as ProtobufFactory
from mcap_ros2.decoder import DecoderFactory as Ros2Factory

from volano.data.readers import image
from volano.data.readers.foreign import MAX_SIDE, ImageArray, refuse, require, understood
from volano.errors import Code

Decode = Callable[[bytes], object]
_MAX_DEPTH = 8
_MAX_SCHEMA_BYTES = 4 << 20
_RAW = ("rgb8", "bgr8")


class Messages:
    """Decodes messages by their channel's schema."""

    def __init__(self) -> None:
        self._factories: Sequence[DecoderFactory] = (Ros2Factory(), ProtobufFactory())
        self._decoders: dict[int, Decode] = {}

    def decode(self, channel: Channel, schema: Schema | None, data: bytes) -> object:
        """A message; raises DataError(E-DATA-080) when its encoding is none of the three, or it is damaged."""
        with understood(f"a message of {channel.topic!r}", Exception):  # three libraries, each with its own
            if channel.id not in self._decoders:
                self._decoders[channel.id] = self._decoder(channel, schema)
            return self._decoders[channel.id](data)

    def _decoder(self, channel: Channel, schema: Schema | None) -> Decode:
        size = len(schema.data) if schema else 0
        require(size <= _MAX_SCHEMA_BYTES, f"the schema of {channel.topic!r} has {size} bytes", Code.DATA_SIZE)
        if channel.message_encoding == "json":
            return json.loads
        for factory in self._factories:
            found = factory.decoder_for(channel.message_encoding, schema)
            if found is not None:
                return found
        encoding = f"{channel.message_encoding!r} with schema {schema.encoding if schema else None!r}"
        raise refuse(f"{channel.topic!r} is {encoding}, not ROS 2, Protobuf or JSON")


def leaves(message: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, value) of every number, list of numbers, text and bytes in a message."""
    if depth > _MAX_DEPTH:
        return
    members = _members(message)
    if members is not None:
        for name, value in members:
            yield from leaves(value, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(message, bool | int | float | str | bytes | bytearray | memoryview | array.array):
        yield path, message
    elif isinstance(message, Sequence) and message and all(type(item) in (bool, int, float) for item in message):
        yield path, list(message)
    elif isinstance(message, Sequence) and message and all(isinstance(item, str) for item in message):
        yield path, tuple(message)


def _members(message: object) -> Iterator[tuple[str, object]] | None:
    if isinstance(message, Mapping):
        return ((str(name), value) for name, value in message.items())
    if isinstance(message, Message):
        return ((field.name, getattr(message, field.name)) for field in message.DESCRIPTOR.fields)
    slots = getattr(type(message), "__slots__", None)
    if isinstance(slots, list):
        return ((name, getattr(message, name, None)) for name in slots)
    return None


def number(value: object) -> np.ndarray[Any, Any] | None:
    """A leaf as a row of numbers, (n,); None when it holds none."""
    if isinstance(value, bool | int | float | list | array.array):
        row = np.atleast_1d(np.asarray(value))
        return row if row.dtype.kind in "biuf" else None
    return None


def picture(message: object, topic: str) -> tuple[str, Callable[[], ImageArray], int, int]:
    """(coding, how to decode it, height, width) of an image message: ROS 2's Image and CompressedImage, and their like
    in Protobuf and JSON (base64). Raises DataError(E-DATA-080) when it is none."""
    found = dict(leaves(message))
    data = found.get("data", b"")
    if isinstance(data, str):
        with understood(f"an image of {topic!r}"):
            data = base64.b64decode(data, validate=True)
    data = data.tobytes() if isinstance(data, array.array) else bytes(data)
    if data.startswith(image.MAGIC):
        height, width = image.size(data)
        return image.coding(data), lambda: image.decode_image(data, height, width), height, width
    numbers = [found.get(name, 0) for name in ("height", "width", "step")]
    encoding = found.get("encoding")
    plain = all(type(value) is int and value > 0 for value in numbers)
    require(plain and encoding in _RAW, f"{topic!r} holds no PNG, JPEG, rgb8 or bgr8 images")
    height, width, step = numbers
    require(max(height, width) <= MAX_SIDE, f"an image of {topic!r} is {height} x {width}", Code.DATA_SIZE)
    require(step >= 3 * width and len(data) == step * height, f"an image of {topic!r} has another size than it says")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)[:, : 3 * width].reshape(height, width, 3)
    pixels = np.ascontiguousarray(rows if encoding == "rgb8" else rows[:, :, ::-1])
    return "raw", lambda: pixels, height, width
