"""Sums of a part come back as they were, join to the sums of the whole, and are believed only whole."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.unit.data.sketches import sketch_of
from volano.data.merge import Merged, Weighted
from volano.data.sketch import EpisodeSketch
from volano.data.statistics import describe
from volano.data.sums_record import from_bytes, to_bytes
from volano.embodiment.shipped import CAR, SCOUT
from volano.errors import DataError


def sketches(count: int) -> list[EpisodeSketch]:
    """Of episodes that differ in length and in size, some far beyond a contract's limits."""
    random = np.random.default_rng(count)
    scales = np.float32(10.0) ** np.arange(-3, count - 3, dtype=np.float32)
    lengths = range(1, count + 1)
    return [
        sketch_of(str(rows), random.normal(size=(rows, 4)).astype(np.float32) * scale)
        for rows, scale in zip(lengths, scales, strict=True)
    ]


def summed(some: list[EpisodeSketch]) -> Merged:
    found = Merged(CAR)
    for sketch in some:
        found.add(sketch, 1)
    return found


def test_sums_come_back_as_they_were() -> None:
    sums = summed(sketches(7))
    read = from_bytes(to_bytes(sums), CAR, 7)
    assert to_bytes(read) == to_bytes(sums)
    assert read.state.equals(sums.state)
    assert read.action.equals(sums.action)
    assert (read.rows, read.weighted_rows) == (sums.rows, sums.weighted_rows) == (28, 28)


@pytest.mark.parametrize("weight", [1.0, 0.1, 3.0, 1 / 3, 1e9])
def test_parts_join_to_the_whole(weight: float) -> None:
    every = sketches(9)
    whole, joined = Weighted(CAR), Weighted(CAR)
    for place, part in enumerate([every[:2], every[2:8], every[8:]]):
        part_weight = weight if place else 0.5
        joined.add(from_bytes(to_bytes(summed(part)), CAR, len(part)), part_weight)
        for sketch in part:
            whole.add(sketch, part_weight)
    assert describe(joined) == describe(whole)


def changed(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda plain: plain.update({name: value})


def with_pair(vector: str, pair: list[int]) -> Callable[[dict[str, Any]], None]:
    """One more place and its count, behind the others of the first channel or colour."""

    def change(plain: dict[str, Any]) -> None:
        texts = plain["cameras"][vector] if vector == "ego" else plain[vector]["histogram"]
        texts[0] = b64encode(b64decode(texts[0]) + np.array(pair, "<i8").tobytes()).decode()

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        changed("schema", "volano.sums.0"),
        changed("embodiment", SCOUT.fingerprint),
        changed("episodes", 3),
        changed("rows", 9),
        changed("rows", None),
        changed("rows", float("inf")),
        changed("rows", 10.0),
        changed("cameras", {}),
        changed("state", {}),
        lambda plain: plain["state"]["totals"].pop(),
        lambda plain: plain["state"]["histogram"].pop(),
        with_pair("state", [10**9, 1]),
        with_pair("state", [-1, 1]),
        with_pair("state", [0, 1 << 62]),
        lambda plain: plain["action"]["histogram"].__setitem__(0, ""),
        lambda plain: plain["action"]["histogram"].__setitem__(0, "A" * 8),
        lambda plain: plain["action"]["histogram"].__setitem__(0, "?"),
        lambda plain: plain["action"]["histogram"].__setitem__(0, [[0, 10]]),
        with_pair("ego", [3, -1]),
        with_pair("ego", [256, 1]),
        with_pair("ego", [-1, 1]),
        lambda plain: plain["cameras"]["ego"].pop(),
    ],
)
def test_sums_that_contradict_themselves_are_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    plain = json.loads(to_bytes(summed(sketches(4))))
    spoil(plain)
    with pytest.raises(DataError, match="not the sums of a part"):
        from_bytes(json.dumps(plain).encode(), CAR, 4)


def test_what_is_no_record_is_refused() -> None:
    for data in (b"", b"[]", b"null", b"{}", b"\xff", to_bytes(summed(sketches(4)))[:-1]):
        with pytest.raises(DataError, match="not the sums of a part"):
            from_bytes(data, CAR, 4)
