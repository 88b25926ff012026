"""Reads MCAP logs in place: one file is one episode, whose rows are the messages of the mapping's clock topic.

Every other topic gives each row its newest message before it, never a later one; a message older than the mapping
allows refuses the episode. Times are log times. Records and chunks are bounded before they are unpacked, checksums
are compared, and a file that was cut off is refused.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from numpy.typing import NDArray

from volano.data.readers.files import listed
from volano.data.readers.foreign import (
    MAX_FRAMES,
    MAX_LOADED_BYTES,
    MAX_WIDTH,
    Field,
    ForeignEpisode,
    ForeignImages,
    Found,
    ImageArray,
    Rows,
    refuse,
    require,
    understood,
)
from volano.data.readers.mapping import ClockOf, Mapping
from volano.data.readers.mcap_messages import Messages, leaves, number, picture
from volano.errors import Code
from volano.storage.files import open_plain

MAX_CHUNK_BYTES = 256 << 20
_NANOSECONDS = 1_000_000_000


@dataclass(kw_only=True)
class _Topic:
    """What was seen of one topic, message by message in the order of the file."""

    times: list[int] = field(default_factory=list)
    numbers: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    image: tuple[str, int, int] | None = None


def read(source: Path, mapping: Mapping) -> list[Found]:
    """One episode for the file, or for each .mcap file of a folder."""
    files = [source] if source.is_file() else listed(source, "*.mcap")
    return [Found(name=path.stem, source=path.name, open=partial(_open, path, mapping)) for path in files]


def _open(path: Path, mapping: Mapping) -> ForeignEpisode:
    clock = mapping.clock
    if clock is None:
        raise refuse("MCAP has no rows of its own: the mapping has to name a clock topic", Code.DATA_MAPPING)
    cameras = {camera.field for camera in mapping.cameras.values()}
    topics = _scan(path, mapping, cameras, clock.topic)
    require(clock.topic in topics, f"{path.name} has no message of {clock.topic!r}", Code.DATA_MAPPING)
    first, ticks = _ticks(path, topics, clock)
    chosen = {name: _chosen(path, name, topic, ticks, clock) for name, topic in topics.items()}
    fields, columns = _columns(topics, chosen)
    span = np.diff(ticks)
    rate_hz = mapping.rate_hz or (_NANOSECONDS / float(np.median(span)) if span.size and np.median(span) > 0 else 0.0)
    times = (ticks - ticks[0]) / _NANOSECONDS

    def load(names: Collection[str]) -> Rows:
        return Rows(timestamp=times, numbers={name: columns[name] for name in names})

    return ForeignEpisode(
        source=f"{path.name} from message {first} of {clock.topic}",
        frames=len(ticks),
        rate_hz=rate_hz,
        started_at=float(ticks[0]) / _NANOSECONDS or None,
        texts={f"{name}.{key}": text for name, topic in topics.items() for key, text in topic.texts.items()},
        fields=fields,
        cameras={
            name: ForeignImages(
                coding=topic.image[0],
                height=topic.image[1],
                width=topic.image[2],
                read=partial(_images, path, name, chosen[name], topic.image),
            )
            for name, topic in topics.items()
            if topic.image is not None
        },
        load=load,
    )


def _scan(path: Path, mapping: Mapping, cameras: Collection[str], clock: str) -> dict[str, _Topic]:
    """Everything of the wanted topics but the images themselves."""
    needed = {*mapping.fields, mapping.instruction_field}
    messages, topics, loaded = Messages(), dict[str, _Topic](), 0
    for schema, channel, message in _messages(path):
        is_camera = channel.topic in cameras
        if not (is_camera or channel.topic == clock or any(f.startswith(f"{channel.topic}.") for f in needed)):
            continue
        topic = topics.setdefault(channel.topic, _Topic())
        in_order = not topic.times or topic.times[-1] <= message.log_time
        require(in_order, f"messages of {channel.topic!r} are not in the order of time", Code.DATA_CLOCK)
        require(len(topic.times) < MAX_FRAMES, f"{channel.topic!r} has too many messages", Code.DATA_SIZE)
        topic.times.append(message.log_time)
        if is_camera and topic.image is not None:
            continue
        decoded = messages.decode(channel, schema, message.data)
        if is_camera:
            coding, _, height, width = picture(decoded, channel.topic)
            topic.image = (coding, height, width)
        else:
            loaded += _gather(channel.topic, topic, decoded)
            require(loaded <= MAX_LOADED_BYTES, f"{path.name} has too many numbers", Code.DATA_SIZE)
    return topics


def _gather(name: str, topic: _Topic, decoded: object) -> int:
    """Add a message's numbers; returns their bytes. Names that stand in the message itself, as in a JointState, must
    stay in one order: it is what columns are found by."""
    size = 0
    for path, value in leaves(decoded):
        if isinstance(value, str) and len(topic.times) == 1:
            topic.texts[path] = value
        elif path == "name" and isinstance(value, tuple):
            require(topic.names in ((), value), f"{name!r} changes the order of its names")
            topic.names = value
        row = number(value)
        if row is not None and len(row):
            rows = topic.numbers.setdefault(path, [])
            require(len(row) <= MAX_WIDTH, f"{name}.{path} has {len(row)} numbers", Code.DATA_SIZE)
            require(not rows or len(rows[0]) == len(row), f"{name}.{path} changes its length")
            rows.append(row)
            size += row.nbytes + 100
    return size


def _ticks(path: Path, topics: dict[str, _Topic], clock: ClockOf) -> tuple[int, NDArray[np.int64]]:
    """The times of the rows in nanoseconds, and how many messages of the clock came before every topic had spoken."""
    times = np.array(topics[clock.topic].times, np.int64)
    start = max(topic.times[0] for topic in topics.values())
    first = int(np.searchsorted(times, start))
    require(first < len(times), f"{path.name} has no row at which every topic had spoken")
    return first, times[first:]


def _chosen(path: Path, name: str, topic: _Topic, ticks: NDArray[np.int64], clock: ClockOf) -> NDArray[np.int64]:
    """For each row, which message of a topic is its newest."""
    times = np.array(topic.times, np.int64)
    chosen = np.searchsorted(times, ticks, side="right") - 1
    if name == clock.topic:
        chosen = np.arange(len(times) - len(ticks), len(times))
    ages = (ticks - times[chosen]) / _NANOSECONDS
    oldest = int(ages.argmax())
    fresh = bool(ages[oldest] <= clock.max_age_s)
    require(fresh, f"{path.name} row {oldest}: {name!r} is {ages[oldest]:.3f} s old", Code.DATA_CLOCK)
    return chosen


def _columns(
    topics: dict[str, _Topic], chosen: dict[str, NDArray[np.int64]]
) -> tuple[dict[str, Field], dict[str, NDArray[np.generic]]]:
    fields: dict[str, Field] = {}
    columns: dict[str, NDArray[np.generic]] = {}
    for name, topic in topics.items():
        for path, rows in topic.numbers.items():
            if len(rows) != len(topic.times):
                continue  # a leaf that some messages do not have is no field
            values: NDArray[Any] = np.stack(rows)[chosen[name]]
            names = topic.names if len(topic.names) == values.shape[1] else ()
            fields[f"{name}.{path}"] = Field(width=values.shape[1], dtype=values.dtype.name, names=names)
            columns[f"{name}.{path}"] = values
    return fields, columns


def _images(path: Path, name: str, chosen: NDArray[np.int64], shape: tuple[str, int, int]) -> Iterator[ImageArray]:
    messages, seen = Messages(), 0
    uses = np.bincount(chosen)
    for schema, channel, message in _messages(path):
        if channel.topic != name:
            continue
        times = int(uses[seen]) if seen < len(uses) else 0
        if times:
            _, decode, height, width = picture(messages.decode(channel, schema, message.data), name)
            require((height, width) == shape[1:], f"images of {name!r} change their size")
            image = decode()
            for _ in range(times):
                yield image
        seen += 1


def _messages(path: Path) -> Iterator[tuple[Schema | None, Channel, Message]]:
    """Every message in the order of the file, checksums compared."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with understood(path.name, McapError, zstandard.ZstdError), open_plain(path) as stream:
        reader = StreamReader(stream, emit_chunks=True, validate_crcs=True, record_size_limit=MAX_CHUNK_BYTES)
        for record in reader.records:
            for part in _unpacked(path, record) if isinstance(record, Chunk) else [record]:
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, Channel):
                    channels[part.id] = part
                elif isinstance(part, Message):
                    channel = channels[part.channel_id]
                    yield schemas.get(channel.schema_id), channel, part


def _unpacked(path: Path, chunk: Chunk) -> list[Any]:
    """The records of a chunk; unpacking stops at the size that the chunk announces."""
    size = chunk.uncompressed_size
    require(size <= MAX_CHUNK_BYTES, f"{path.name} has a chunk of {size} bytes", Code.DATA_SIZE)
    if chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression == "zstd":
        require(zstandard.frame_content_size(chunk.data) in (-1, size), f"{path.name} has a chunk of another size")
        data = zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=size)
    elif chunk.compression == "":
        data = chunk.data
    else:
        raise refuse(f"{path.name} is packed by {chunk.compression!r:.40}")
    require(len(data) == size, f"{path.name} has a chunk of another size")
    plain = Chunk(
        compression="",
        data=data,
        message_start_time=chunk.message_start_time,
        message_end_time=chunk.message_end_time,
        uncompressed_crc=chunk.uncompressed_crc,
        uncompressed_size=size,
    )
    return breakup_chunk(plain, validate_crc=True)
