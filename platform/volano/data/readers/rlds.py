"""Reads RLDS datasets (as TensorFlow Datasets prepares them) in place, without TensorFlow: one Example per episode.

Per-step features are flat lists; `steps/is_first` says how many steps there are, and must be true at the first one
alone. A record's checksum is compared before its bytes are parsed.
"""

import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volano.data.readers import image
from volano.data.readers.example import Feature, parse
from volano.data.readers.files import listed
from volano.data.readers.foreign import (
    MAX_EPISODES,
    MAX_FRAMES,
    MAX_WIDTH,
    Field,
    ForeignEpisode,
    ForeignImages,
    Found,
    ImageArray,
    Rows,
    numbered,
    require,
    understood,
)
from volano.data.readers.mapping import Mapping
from volano.data.readers.tfrecord import content, offsets
from volano.errors import Code

Record = Callable[[], dict[str, Feature]]
"""Reads and parses an episode's record."""
_FIRST = "steps/is_first"
_FILE = re.compile(r"[A-Za-z0-9_.]*-(?P<split>[A-Za-z0-9_]+)\.tfrecord-(?P<shard>\d{5})-of-(?P<shards>\d{5})")
_MAX_TEXT = 10_000


def read(root: Path, mapping: Mapping) -> list[Found]:
    """Every episode of every split; raises DataError when a file is damaged, or a shard is missing."""
    files = listed(root, "*.tfrecord-*")
    require(bool(files), "there is no .tfrecord file", Code.DATA_MISSING_FILE)
    splits: dict[str, list[tuple[int, int]]] = {}
    found: list[Found] = []
    kept = lru_cache(maxsize=1)(_example)  # an episode's record is needed for its numbers and for each camera
    for path in files:
        named = _FILE.fullmatch(path.name)
        if named is None:
            require(False, f"{path.name} is not named <name>-<split>.tfrecord-NNNNN-of-NNNNN")
            continue
        splits.setdefault(named["split"], []).append((int(named["shard"]), int(named["shards"])))
        for number, (offset, length) in enumerate(offsets(path)):
            require(len(found) < MAX_EPISODES, "too many episodes", Code.DATA_SIZE)
            name = f"{named['split']}-{named['shard']}-{number:06d}"
            opened = partial(_open, partial(kept, path, offset, length), f"{path.name} byte {offset}", mapping)
            found.append(Found(name=name, source=f"{path.name} byte {offset}", open=opened))
    for split, shards in splits.items():
        whole = sorted(shards) == [(number, len(shards)) for number in range(len(shards))]
        require(whole, f"shards of {split!r} are missing", Code.DATA_MISSING_FILE)
    return found


def _open(record: Record, source: str, mapping: Mapping) -> ForeignEpisode:
    require(mapping.rate_hz is not None, "RLDS holds no rate: the mapping has to say rate_hz", Code.DATA_MAPPING)
    rate_hz = mapping.rate_hz or 0.0
    example = record()
    frames = _frames(example)
    steps = {name: values for name, values in example.items() if name.startswith("steps/") and len(values)}
    fields: dict[str, Field] = {}
    texts: dict[str, str] = {}
    cameras: dict[str, ForeignImages] = {}
    for name, values in steps.items():
        require(len(values) % frames == 0, f"{name} has {len(values)} values for {frames} steps")
        width = len(values) // frames
        if isinstance(values, np.ndarray):
            require(width <= MAX_WIDTH, f"{name} has {width} numbers a step", Code.DATA_SIZE)
            fields[name] = Field(width=width, dtype=values.dtype.name)
        elif width == 1 and values[0].startswith(image.MAGIC):
            height, wide = image.size(values[0])
            cameras[name] = ForeignImages(
                height=height,
                width=wide,
                coding=image.coding(values[0]),
                read=partial(_images, record, name, height, wide),
            )
        elif width == 1:
            texts |= _text(name, values)
    for name, values in example.items():
        if isinstance(values, list) and name not in steps and len(values) == 1:
            texts |= _text(name, values)
    return ForeignEpisode(
        source=source,
        frames=frames,
        rate_hz=rate_hz,
        started_at=None,
        texts=texts,
        fields=fields,
        cameras=cameras,
        load=partial(_load, record, rate_hz),
    )


def _example(path: Path, offset: int, length: int) -> dict[str, Feature]:
    with understood(path.name):
        return parse(content(path, offset, length))


def _frames(example: dict[str, Feature]) -> int:
    first = example.get(_FIRST)
    if not isinstance(first, np.ndarray) or not 0 < len(first) <= MAX_FRAMES:
        require(False, f"{_FIRST} does not say how many steps there are")
        return 0
    alone = bool(first[0]) and not first[1:].any()
    require(alone, f"{_FIRST} is not true at the first step alone")
    return len(first)


def _text(name: str, values: list[bytes]) -> dict[str, str]:
    """A text that is the same in every step; none when it changes, or is none."""
    if len(set(values)) != 1 or len(values[0]) > _MAX_TEXT:
        return {}
    try:
        return {name: values[0].decode()}
    except UnicodeDecodeError:
        return {}


def _load(record: Record, rate_hz: float, names: Collection[str]) -> Rows:
    example = record()
    frames = _frames(example)
    numbers: dict[str, NDArray[np.generic]] = {}
    for name in names:
        values = example[name]
        if isinstance(values, np.ndarray):
            numbers[name] = values.reshape(frames, -1)
    return Rows(timestamp=numbered(frames, rate_hz), numbers=numbers)


def _images(record: Record, name: str, height: int, width: int) -> Iterator[ImageArray]:
    for data in record()[name]:
        if isinstance(data, bytes):
            yield image.decode_image(data, height, width)
