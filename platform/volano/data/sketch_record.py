"""A sketch as JSON, and back: a record that contradicts itself, its episode or its contract is none.

Sums are hexadecimal texts, since other readers of JSON round large numbers; of a histogram stand only the bins that are
not empty, and of pictures texts of `volano.data.levels`. A record may come from a child that was taken over: it is
checked before it is kept, and when it is read.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.bins import BINS, Bins
from volano.data.episode import Manifest
from volano.data.exact_sums import in_units
from volano.data.levels import levels_text, parse_levels
from volano.data.merge import MergedVector
from volano.data.sketch import EpisodeSketch, VectorSketch
from volano.data.text import strict_json
from volano.embodiment.contract import Channel, Embodiment
from volano.storage.content import canonical_json, sha256_bytes

SCHEMA = "volano.sketch.2"
_HEX = re.compile(r"-?[0-9a-f]{1,200}")
_HEAD, _TAIL = b'{"body":', b',"sha256":"%s"}'
"""What canonical JSON has around a record's body."""
_VECTOR = {"totals", "squares", "low", "high", "histogram"}


def to_bytes(sketch: EpisodeSketch) -> bytes:
    """Canonical JSON, which ends in its own SHA-256."""
    body = {
        "schema": SCHEMA,
        "content_id": sketch.content_id,
        "embodiment": sketch.embodiment,
        "rows": sketch.rows,
        "state": vector_to_json(sketch.state),
        "action": vector_to_json(sketch.action),
        "cameras": {name: levels_text(counts) for name, counts in sketch.cameras.items()},
    }
    return canonical_json({"body": body, "sha256": sha256_bytes(canonical_json(body))})


def from_bytes(data: bytes, manifest: Manifest, embodiment: Embodiment) -> EpisodeSketch:
    """The sketch of just this episode of this embodiment; raises ValueError, TypeError, KeyError or RecursionError."""
    text = data[len(_HEAD) : len(data) - len(_TAIL % (b"0" * 64))]
    _require(data == _HEAD + text + _TAIL % sha256_bytes(text).encode(), "it has another hash")
    plain: Any = strict_json(data)
    body = plain["body"]
    _require(set(plain) == {"body", "sha256"}, "other fields stand beside it")
    expected = (SCHEMA, manifest.content_id, embodiment.fingerprint, manifest.frames)
    found = tuple(body[name] for name in ("schema", "content_id", "embodiment", "rows"))
    _require(found == expected and type(body["rows"]) is int, "it is another episode's")
    return EpisodeSketch(
        content_id=manifest.content_id,
        embodiment=embodiment.fingerprint,
        rows=manifest.frames,
        state=vector_from_json(body["state"], manifest.frames, embodiment.state),
        action=vector_from_json(body["action"], manifest.frames, embodiment.action),
        cameras=_cameras(body["cameras"], embodiment),
    )


def vector_to_json(vector: VectorSketch | MergedVector) -> dict[str, object]:
    """Plain data of rows that were counted once each."""
    return {
        "totals": [f"{total:x}" for total in vector.totals],
        "squares": [f"{total:x}" for total in vector.squares],
        "low": list(vector.low),
        "high": list(vector.high),
        "histogram": [[[int(place), int(row[place])] for place in np.flatnonzero(row)] for row in vector.histogram],
    }


def vector_from_json(data: Any, rows: int, channels: tuple[Channel, ...]) -> VectorSketch:
    """Inverse, for so many rows of these channels; raises ValueError, TypeError or KeyError for what none have."""
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
    found = np.array(pairs)
    _require(found.dtype == np.int64 and found.ndim == 2 and found.shape[1] == 2, "a bin is no number")
    places, counts = found.T
    _require(places[0] >= 0 and places[-1] <= BINS + 1 and bool((np.diff(places) > 0).all()), "bins do not rise")
    _require(counts.min() > 0 and counts.max() < 1 << 32, "bins count too much, or nothing")
    row = np.zeros(BINS + 2, np.int64)
    row[places] = counts
    return row


def _cameras(data: Any, embodiment: Embodiment) -> dict[str, NDArray[np.int64]]:
    _require(set(data) == {camera.name for camera in embodiment.cameras}, "cameras differ")
    return {name: parse_levels(text) for name, text in data.items()}


def _whole(text: Any) -> int:
    _require(isinstance(text, str) and _HEX.fullmatch(text) is not None, "a sum is no number")
    return int(text, 16)


def _number(value: Any) -> float:
    _require(type(value) is float, "a limit is no number")
    return float(value) + 0.0


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
