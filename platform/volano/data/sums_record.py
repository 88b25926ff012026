"""The sums of one part of a dataset as JSON, and back: what its children read in place of every episode's sketch.

State and action stand there as in a sketch, which is checked as one (`sketch_record`) and compared with the rows again
whenever it is used (`lerobot_statistics`). Of histograms and of a camera's levels stand only those that occur, as pairs
of place and count: base64 of whole numbers of eight bytes, the lowest first. A child reads the sums of all its parts.
"""

import json
from base64 import b64decode, b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data import sketch_record
from volano.data.merge import Merged, MergedVector, Whole
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.content import canonical_json

SCHEMA = f"volano.sums.2 of {sketch_record.SCHEMA}"
"""Sums of sketches of another kind are none: what a child adds to them would not fit."""


def to_bytes(merged: Merged) -> bytes:
    """Canonical JSON of episodes that were added up once each."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "embodiment": merged.embodiment.fingerprint,
            "episodes": merged.episodes,
            "rows": merged.rows,
            "state": _vector(merged.state),
            "action": _vector(merged.action),
            "cameras": {name: [_text(row) for row in levels] for name, levels in merged.cameras.items()},
        }
    )


def from_bytes(data: bytes, embodiment: Embodiment, episodes: int) -> Merged:
    """The sums of so many episodes; raises DataError(E-DATA-013) for what is none of this embodiment."""
    try:
        return _merged(json.loads(data), embodiment, episodes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise DataError(
            Code.DATA_VERSION, f"not the sums of a part: {error}", "build the version again, without a parent"
        ) from error


def _merged(plain: Any, embodiment: Embodiment, episodes: int) -> Merged:
    said = tuple(plain[name] for name in ("schema", "embodiment", "episodes"))
    _require(said == (SCHEMA, embodiment.fingerprint, episodes), "they are of other episodes")
    _require(plain["cameras"].keys() == {camera.name for camera in embodiment.cameras}, "cameras differ")
    rows = plain["rows"]
    _require(type(rows) is int and rows > 0, "they hold no rows")
    found = Merged(embodiment)
    found.episodes, found.rows, found.weighted_rows = episodes, rows, rows
    for vector, channels, said in (
        (found.state, embodiment.state, plain["state"]),
        (found.action, embodiment.action, plain["action"]),
    ):
        pairs = [_pairs(text) for text in said["histogram"]]
        vector.add(sketch_record.vector_from_json({**said, "histogram": pairs}, rows, channels), 1)
    for name, levels in found.cameras.items():
        for row, text in zip(levels, plain["cameras"][name], strict=True):
            places, counts = _pairs(text).T
            _require(bool((counts > 0).all() and (np.diff(places) > 0).all()), "a count is none")
            _require(bool((places >= 0).all() and (places < len(row)).all()), "a value is none")
            row[places] = counts.astype(np.object_)
    return found


def _vector(merged: MergedVector) -> dict[str, object]:
    plain = sketch_record.vector_to_json(merged)
    return {**plain, "histogram": [_text(row) for row in merged.histogram]}


def _text(counts: Whole) -> str:
    places = np.flatnonzero(counts)
    return b64encode(np.stack([places, counts[places].astype(np.int64)], axis=1).astype("<i8").tobytes()).decode()


def _pairs(text: Any) -> NDArray[np.int64]:
    """Places and counts, (N, 2)."""
    return np.frombuffer(b64decode(text, validate=True), "<i8").reshape(-1, 2).astype(np.int64)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
