"""Reads demonstrations in HDF5 in place: robomimic's layout (a group `data/demo_N` each) and ALOHA's (a file each, with
`action` and `observations/`).

An HDF5 file can point outside itself (external and soft links, virtual and external storage) and can ask for plug-ins;
all of it is refused. Sizes are compared before anything is loaded; no object, reference or pickled type is read.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from volano.data.readers import image
from volano.data.readers.files import listed
from volano.data.readers.foreign import (
    MAX_EPISODES,
    MAX_FRAMES,
    MAX_LOADED_BYTES,
    MAX_SIDE,
    MAX_WIDTH,
    Field,
    ForeignEpisode,
    ForeignImages,
    Found,
    ImageArray,
    Rows,
    numbered,
    refuse,
    require,
    understood,
)
from volano.data.readers.mapping import Mapping
from volano.errors import Code
from volano.storage.files import open_plain

_MAX_DEPTH = 4
_MAX_MEMBERS = 1000
"""Most members of a group that belongs to an episode."""
_MAX_CHUNK_BYTES = 64 << 20
_MAX_TEXT = 1 << 20
_FILTERS = frozenset({"gzip", "lzf", None})
_NUMBERS = "biuf"
_DEMO = re.compile(r"demo_(\d{1,9})")
_ENCODED_RANK, _IMAGE_RANK = 2, 4


def read(source: Path, mapping: Mapping) -> list[Found]:
    """Every episode of a file, or of all HDF5 files in a folder; raises DataError when a file cannot be listed."""
    if source.is_file():
        return _listed(source, "", mapping)
    files = [*listed(source, "*.hdf5"), *listed(source, "*.h5")]
    files.sort(key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)])
    return [found for path in files for found in _listed(path, path.stem, mapping)]


def _listed(path: Path, stem: str, mapping: Mapping) -> list[Found]:
    with _opened(path) as file:
        if file.get("action", getlink=True) is not None:
            places = {stem or path.stem: ""}
        else:
            demos = [match for name in _members(file, "data", MAX_EPISODES) if (match := _DEMO.fullmatch(name))]
            require(bool(demos), f"{path.name} is neither robomimic's nor ALOHA's layout")
            demos.sort(key=lambda match: int(match[1]))
            places = {f"{stem}-{match[0]}".lstrip("-"): f"data/{match[0]}" for match in demos}
    return [
        Found(name=name, source=f"{path.name}:/{place}", open=partial(_open, path, place, mapping))
        for name, place in places.items()
    ]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with understood(path.name):
        open_plain(path).close()
        with h5py.File(path, "r", locking=False) as file:
            yield file


def _members(file: h5py.File, place: str, most: int) -> list[str]:
    """Names in a group that is reached without links."""
    group = _at(file, place)
    require(isinstance(group, h5py.Group), f"{place!r} is no group")
    require(len(group) <= most, f"{place!r} has {len(group)} members", Code.DATA_SIZE)
    return [str(name) for name in group]


def _at(file: h5py.File, place: str) -> Any:
    """The object at a path, every step of which is a hard link."""
    here: Any = file
    for part in filter(None, place.split("/")):
        link = here.get(part, getlink=True)
        require(link is not None, f"there is no {place!r}")
        require(isinstance(link, h5py.HardLink), f"{place!r} is or passes a link", Code.DATA_OUTSIDE)
        here = here[part]
    return here


def _open(path: Path, place: str, mapping: Mapping) -> ForeignEpisode:
    require(mapping.rate_hz is not None, "HDF5 holds no rate: the mapping has to say rate_hz", Code.DATA_MAPPING)
    rate_hz = mapping.rate_hz or 0.0
    with _opened(path) as file:
        datasets = _datasets(file, place)
        action = "actions" if place else "action"
        require(action in datasets, f"{path.name} has no {place}/{action}")
        frames = len(datasets[action])
        require(0 < frames <= MAX_FRAMES, f"{path.name} has {frames} rows", Code.DATA_SIZE)
        of_frames = {name: data for name, data in datasets.items() if data.ndim and len(data) == frames}
        fields = {name: _field(name, data) for name, data in of_frames.items() if _is_field(data)}
        cameras = {name: _images(path, place, name, data) for name, data in of_frames.items() if name not in fields}
        texts = _texts(file, "data" if place else "", place)
    return ForeignEpisode(
        source=f"{path.name}:/{place}",
        frames=frames,
        rate_hz=rate_hz,
        started_at=None,
        texts=texts,
        fields=fields,
        cameras={name: camera for name, camera in cameras.items() if camera is not None},
        load=partial(_load, path, place, frames, rate_hz),
    )


def _datasets(file: h5py.File, place: str) -> dict[str, h5py.Dataset]:
    """Every array below an episode's group, by its path there."""
    found: dict[str, h5py.Dataset] = {}
    waiting = [("", 0)]
    while waiting:
        below, depth = waiting.pop()
        for name in _members(file, f"{place}/{below}", _MAX_MEMBERS):
            path = f"{below}/{name}".lstrip("/")
            member = _at(file, f"{place}/{path}")
            if isinstance(member, h5py.Dataset):
                found[path] = member
                require(len(found) <= _MAX_MEMBERS, f"{place!r} holds too many arrays", Code.DATA_SIZE)
            elif isinstance(member, h5py.Group):
                require(depth < _MAX_DEPTH, f"{path!r} lies too deep")
                waiting.append((path, depth + 1))
    return found


def _is_field(data: h5py.Dataset) -> bool:
    is_image = data.dtype == np.uint8 and data.ndim in (_ENCODED_RANK, _IMAGE_RANK)
    return data.dtype.kind in _NUMBERS and data.ndim <= _ENCODED_RANK and not is_image


def _field(name: str, data: h5py.Dataset) -> Field:
    width = data.shape[1] if data.ndim > 1 else 1
    require(0 < width <= MAX_WIDTH, f"{name!r} has {width} numbers a row", Code.DATA_SIZE)
    return Field(width=width, dtype=data.dtype.name)


def _require_own(name: str, data: h5py.Dataset) -> None:
    """All bytes of an array are in this file, and need no plug-in."""
    require(not data.is_virtual and not data.external, f"{name!r} is stored elsewhere", Code.DATA_OUTSIDE)
    require(data.compression in _FILTERS and data.scaleoffset is None, f"{name!r} is packed by {data.compression!r}")
    properties = data.id.get_create_plist()
    codes = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    known = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
    require(codes <= known, f"{name!r} is packed by a filter that is not built in")
    chunk = int(np.prod(data.chunks or (1,), dtype=object)) * data.dtype.itemsize
    require(chunk <= _MAX_CHUNK_BYTES, f"{name!r} has pieces of {chunk} bytes", Code.DATA_SIZE)


def _load(path: Path, place: str, frames: int, rate_hz: float, names: Collection[str]) -> Rows:
    numbers: dict[str, NDArray[np.generic]] = {}
    total = 0
    with _opened(path) as file:
        for name in names:
            data = _at(file, f"{place}/{name}")
            _require_own(name, data)
            total += data.size * data.dtype.itemsize
            require(total <= MAX_LOADED_BYTES, f"{path.name} has too many numbers", Code.DATA_SIZE)
            values = np.asarray(data[()])
            numbers[name] = values.reshape(frames, -1).astype(values.dtype.newbyteorder("="), copy=False)
    return Rows(timestamp=numbered(frames, rate_hz), numbers=numbers)


def _images(path: Path, place: str, name: str, data: h5py.Dataset) -> ForeignImages | None:
    """A camera: arrays of (T, height, width, 3), or encoded images of one length, or of free length; None for what is
    no camera."""
    if data.dtype == np.uint8 and data.ndim == _IMAGE_RANK and data.shape[3] == 3:
        _, height, width, _ = data.shape
        coding = "raw"
    elif (data.dtype == np.uint8 and data.ndim == _ENCODED_RANK) or (
        data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8
    ):
        _require_own(name, data)
        first = _encoded(name, data, 0)
        if not first.startswith(image.MAGIC):
            return None
        coding = image.coding(first)
        height, width = image.size(first)
    else:
        return None
    require(0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE, f"{name!r} is {height} x {width}", Code.DATA_SIZE)
    read_all = partial(_read_images, path, place, name, coding, height, width)
    return ForeignImages(height=height, width=width, coding=coding, read=read_all)


def _read_images(path: Path, place: str, name: str, coding: str, height: int, width: int) -> Iterator[ImageArray]:
    with _opened(path) as file:
        data = _at(file, f"{place}/{name}")
        _require_own(name, data)
        for number in range(len(data)):
            if coding == "raw":
                yield np.asarray(data[number], np.uint8)
            else:
                yield image.decode_image(_encoded(name, data, number), height, width)


def _encoded(name: str, data: h5py.Dataset, number: int) -> bytes:
    """One encoded image; those of one length are filled up with zeros behind their end."""
    if data.ndim > 1:
        require(data.shape[1] <= image.MAX_IMAGE_BYTES, f"images of {name!r} are too large", Code.DATA_SIZE)
    values = np.asarray(data[number])
    if values.dtype != np.uint8 or values.ndim != 1:
        raise refuse(f"an image of {name!r} is {values.dtype} {values.shape}")
    return values.tobytes()


def _texts(file: h5py.File, *places: str) -> dict[str, str]:
    """Short texts among the attributes; the members of one that is a JSON object stand under `name.member`."""
    found: dict[str, str] = {}
    for place in places:
        attributes = _at(file, place).attrs
        require(len(attributes) <= _MAX_MEMBERS, f"{place!r} has too many attributes", Code.DATA_SIZE)
        for name in attributes:
            size = attributes.get_id(name).get_storage_size()
            shape = attributes.get_id(name).shape
            if size > _MAX_TEXT or shape != ():
                continue
            value = attributes[name]
            text = value.decode() if isinstance(value, bytes) else value
            if not isinstance(text, str) or len(text) > _MAX_TEXT:
                continue
            found[name] = text
            found |= {f"{name}.{key}": member for key, member in _members_of(text).items()}
    return found


def _members_of(text: str) -> dict[str, str]:
    try:
        data = json.loads(text) if text.startswith("{") else {}
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
