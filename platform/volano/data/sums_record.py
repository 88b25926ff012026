"""The sums of one part of a dataset as JSON, and back: what its children read in place of every episode's sketch.

State and action stand there as in a sketch, which is checked as one (`sketch_record`) and compared with the rows again
whenever it is used (`lerobot_statistics`); of a camera's levels stand only those that occur.
"""

import json
from typing import Any

import numpy as np

from volano.data import sketch_record
from volano.data.merge import Merged
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.content import canonical_json

SCHEMA = f"volano.sums.1 of {sketch_record.SCHEMA}"
"""Sums of sketches of another kind are none: what a child adds to them would not fit."""


def to_bytes(merged: Merged) -> bytes:
    """Canonical JSON of episodes that were added up once each."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "embodiment": merged.embodiment.fingerprint,
            "episodes": merged.episodes,
            "rows": merged.rows,
            "state": sketch_record.vector_to_json(merged.state),
            "action": sketch_record.vector_to_json(merged.action),
            "cameras": {
                name: [[[int(place), int(row[place])] for place in np.flatnonzero(row)] for row in levels]
                for name, levels in merged.cameras.items()
            },
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
    found.state.add(sketch_record.vector_from_json(plain["state"], rows, embodiment.state), 1)
    found.action.add(sketch_record.vector_from_json(plain["action"], rows, embodiment.action), 1)
    for name, levels in found.cameras.items():
        for row, pairs in zip(levels, plain["cameras"][name], strict=True):
            for place, count in pairs:
                _require(type(place) is type(count) is int and 0 <= place < len(row) and count > 0, "a count is none")
                row[place] = count
    return found


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
