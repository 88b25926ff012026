"""A sketch as JSON, and back: a record that contradicts itself, its episode or its contract is none.

Sums are hexadecimal texts, since other readers of JSON round large numbers; of a histogram stand only the bins that are
not empty.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import BINS, Bins
from volano.data.episode import Manifest
from volano.data.exact_sums import in_units
from volano.data.sketch import EpisodeSketch, VectorSketch
from volano.data.text import strict_json
from volano.embodiment.contract import Channel, Embodiment
from volano.storage.content import canonical_json, sha256_bytes

SCHEMA = "volano.sketch.1"
_HEX = re.compile(r"-?[0-9a-f]{1,200}")
_VECTOR = {"totals", "squares", "low", "high", "histogram"}


def to_bytes(sketch: EpisodeSketch) -> bytes:
    """Canonical JSON, which ends in its own SHA-256."""
    body = {
        "schema": SCHEMA,
        "content_id": sketch.content_id,
        "embodiment": sketch.embodiment,
        "rows": sketch.rows,
        "state": _plain(sketch.state),
        "action": _plain(sketch.action),
        "cameras": {name: counts.tolist() for name, counts in sketch.cameras.items()},
    }
    return canonical_json({"body": body, "sha256": sha256_bytes(canonical_json(body))})


def from_bytes(data: bytes, manifest: Manifest, embodiment: Embodiment) -> EpisodeSketch:
    """The sketch of just this episode of this embodiment; raises ValueError, TypeError, KeyError or RecursionError."""
    plain: Any = strict_json(data)
    body = plain["body"]
    _require(set(plain) == {"body", "sha256"}, "other fields stand beside it")
    _require(plain["sha256"] == sha256_bytes(canonical_json(body)), "it has another hash")
    expected = (SCHEMA, manifest.content_id, embodiment.fingerprint, manifest.frames)
    found = tuple(body[name] for name in ("schema", "content_id", "embodiment", "rows"))
    _require(found == expected and type(body["rows"]) is int, "it is another episode's")
    return EpisodeSketch(
        content_id=manifest.content_id,
        embodiment=embodiment.fingerprint,
        rows=manifest.frames,
        state=_vector(body["state"], manifest.frames, embodiment.state),
        action=_vector(body["action"], manifest.frames, embodiment.action),
        cameras=_cameras(body["cameras"], embodiment),
    )


def _plain(vector: VectorSketch) -> dict[str, object]:
    return {
        "totals": [f"{total:x}" for total in vector.totals],
        "squares": [f"{total:x}" for total in vector.squares],
        "low": vector.low,
        "high": vector.high,
        "histogram": [[[int(place), int(row[place])] for place in np.flatnonzero(row)] for row in vector.histogram],
    }


def _vector(data: Any, rows: int, channels: tuple[Channel, ...]) -> VectorSketch:
    _require(set(data) == _VECTOR and {len(column) for column in data.values()} == {len(channels)}, "channels differ")
    vector = VectorSketch(
        totals=tuple(map(_whole, data["totals"])),
        squares=tuple(map(_whole, data["squares"])),
        low=tuple(map(_number, data["low"])),
        high=tuple(map(_number, data["high"])),
        histogram=np.stack([_counts(pairs) for pairs in data["histogram"]]),
    )
    ends = Bins.of(channels).place(np.array([vector.low, vector.high]))
    for channel, (total, squares) in enumerate(zip(vector.totals, vector.squares, strict=True)):
        row = vector.histogram[channel]
        low, high = in_units(vector.low[channel]), in_units(vector.high[channel])
        _require(int(row.sum()) == rows, "its bins do not hold every row")
        _require(np.flatnonzero(row)[[0, -1]].tolist() == ends[:, channel].tolist(), "bins and limits differ")
        _require(rows * low <= total <= rows * high and total * total <= rows * squares, "no rows have these sums")
    return vector


def _counts(pairs: Any) -> NDArray[np.int64]:
    counts = np.zeros(BINS + 2, np.int64)
    before = -1
    for place, count in pairs:
        _require(type(place) is int and type(count) is int, "a bin is no number")
        _require(before < place <= BINS + 1 and 0 < count < 1 << 32, "bins do not rise, or count too much")
        before, counts[place] = place, count
    return counts


def _cameras(data: Any, embodiment: Embodiment) -> dict[str, NDArray[np.int64]]:
    _require(set(data) == {camera.name for camera in embodiment.cameras}, "cameras differ")
    for colours in data.values():
        shape = [len(colours), *map(len, colours)]
        values = [value for colour in colours for value in colour]
        sound = all(type(value) is int and 0 <= value < 1 << 48 for value in values)
        _require(shape == [3, 256, 256, 256] and sound, "a camera's levels are not counted")
        _require(0 < sum(colours[0]) == sum(colours[1]) == sum(colours[2]), "a camera's colours differ in number")
    return {name: np.array(colours, np.int64) for name, colours in data.items()}


def _whole(text: Any) -> int:
    _require(isinstance(text, str) and _HEX.fullmatch(text) is not None, "a sum is no number")
    return int(text, 16)


def _number(value: Any) -> float:
    _require(type(value) is float, "a limit is no number")
    return float(value) + 0.0


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
