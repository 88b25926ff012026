"""A version's statistics, added up from sketches, are those of its rows, whatever was added and removed on the way."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.data.bundles import KNOWN, Draft, columns, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.quarantined import check
from tests.unit.data.sketches import Rows, manifest_of, sketch_of
from volano.data.build import build_version
from volano.data.judge import judge
from volano.data.merge import Weighted
from volano.data.sketch import EpisodeSketch
from volano.data.sketch_record import from_bytes, to_bytes
from volano.data.sketch_store import SKETCHES, sketch_key
from volano.data.statistics import PERCENT, EmbodimentStatistics, describe, load_statistics
from volano.data.verdict import pending
from volano.data.version import DatasetVersion, object_key
from volano.embodiment.shipped import CAR
from volano.errors import DataError, StorageError
from volano.storage.content import canonical_json, sha256_bytes

PHASES = tuple(phase for phase in Phase if phase not in {Phase.shrink, Phase.explain})
"""A smaller case would say little more, and take minutes to find."""
SCALES = (2.0**-60, 1.0, 20.0, 2.0**100)
WEIGHTS = st.sampled_from([1.0, 2.0, 0.5, 0.1, 1e-3, 1 / 3, 1e9]) | st.floats(1e-6, 1e6)
STEPS = st.lists(st.tuples(st.integers(0, 5), st.none() | WEIGHTS), min_size=1, max_size=8)
"""Episode and its new weight; none removes it."""


@st.composite
def episodes(draw: st.DrawFn) -> Rows:
    """States of a car; some far beyond its limits, or tiny."""
    scale = draw(st.sampled_from(SCALES))
    shape = (draw(st.integers(1, 25)), 4)
    return draw(arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))) * np.float32(scale)


def merged(held: Mapping[int, float], sketches: list[EpisodeSketch]) -> EmbodimentStatistics:
    """Statistics of a version that holds these episodes, added up in the order of the mapping."""
    total = Weighted(CAR)
    for number, weight in held.items():
        total.add(sketches[number], weight)
    return describe(total)


def agree(found: EmbodimentStatistics, held: Mapping[int, float], rows: list[Rows]) -> None:
    """Compare with the rows themselves, all at once."""
    every = np.concatenate([rows[number] for number in held]).astype(np.float64)
    weights = np.repeat(list(held.values()), [len(rows[number]) for number in held])
    assert (found.episodes, found.rows) == (len(held), len(every))
    assert found.weight == pytest.approx(weights.sum(), rel=1e-9)
    for number, channel in enumerate(found.state):
        values = every[:, number]
        close = 1e-9 * np.abs(values).max()
        mean = np.average(values, weights=weights)
        assert channel.mean == pytest.approx(mean, abs=close)
        assert channel.std == pytest.approx(np.sqrt(np.average((values - mean) ** 2, weights=weights)), abs=close)
        assert (channel.low, channel.high) == (values.min(), values.max())
        assert sum(weight for _, weight in channel.histogram) == pytest.approx(weights.sum(), rel=1e-9)
        limits = (CAR.state[number].low, CAR.state[number].high)
        order = np.argsort(values, kind="stable")
        below = list(accumulate(Fraction(weights[row]) for row in order))
        for name, percent in PERCENT.items():
            exact = values[order[bisect_left(below, percent * below[-1] / 100)]]
            if limits[0] <= exact <= limits[1]:
                assert abs(channel.quantiles[name] - exact) <= channel.error * (1 + 1e-9)
            else:
                assert channel.low <= channel.quantiles[name] <= channel.high


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(rows=st.lists(episodes(), min_size=6, max_size=6), steps=STEPS, random=st.randoms())
def test_statistics_equal_a_rebuild_after_adding_and_removing(
    rows: list[Rows], steps: list[tuple[int, float | None]], random: np.random.Generator
) -> None:
    fresh = [sketch_of(str(number), one) for number, one in enumerate(rows)]
    sketches = [from_bytes(to_bytes(one), manifest_of(str(n), one.rows), CAR) for n, one in enumerate(fresh)]
    held: dict[int, float] = {}
    for number, weight in steps:
        held.pop(number, None)
        if weight is not None:
            held[number] = weight
        if held:
            found = merged(held, sketches)
            agree(found, held, rows)
            other = list(held)
            random.shuffle(other)
            assert merged({number: held[number] for number in other}, fresh).to_bytes() == found.to_bytes()


def test_a_giant_that_was_removed_leaves_no_trace() -> None:
    """Running sums in floating point would have lost the small episode."""
    rows = [np.full((3, 4), 0.1, np.float32), np.full((3, 4), 3e38, np.float32)]
    sketches = [sketch_of(str(number), one) for number, one in enumerate(rows)]
    assert merged({0: 1.0, 1: 1.0}, sketches).state[0].mean > 1e38
    assert merged({0: 1.0}, sketches).state[0].mean == float(np.float32(0.1))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    total, sketch = Weighted(CAR), sketch_of("one", np.ones((3, 4), np.float32))
    total.add(sketch, 1.0)
    with pytest.raises(DataError, match="E-DATA-013"):
        total.add(sketch, weight)


def accept(folder: Path, *seeds: int) -> MemoryStore:
    store = MemoryStore()
    add(store, folder, *seeds)
    return store


def add(store: MemoryStore, folder: Path, *seeds: int) -> None:
    for seed in seeds:
        draft = drafted(seed)
        upload(store, folder / str(seed), write_bundle(folder / str(seed), draft))
    judge(store, pending(store), KNOWN, check)


def drafted(seed: int) -> Draft:
    return Draft(seed=seed, attempt=f"attempt-{seed}", frames=4 + seed, first_number=10 * seed)


def build(store: MemoryStore, weights: Mapping[str, float], parent: str = "") -> DatasetVersion:
    """A version of the attempts that have a weight."""
    return build_version(
        store, parent=parent, reason="test", select=lambda one: weights.get(one.attempt, 0.0), known=KNOWN
    )


def files(store: MemoryStore, version: DatasetVersion) -> tuple[bytes, dict[str, Any]]:
    """Those by weight, and LeRobot's but for what only counts episodes and tasks: a child has them in another order."""
    own, stated = (
        store.objects[object_key(version, name)] for name in ("rover/volano/statistics.json", "rover/meta/stats.json")
    )
    counted = {"episode_index", "task_index"}
    return own, {name: value for name, value in json.loads(stated).items() if name not in counted}


def test_versions_state_what_a_rebuild_would(tmp_path: Path) -> None:
    store = accept(tmp_path / "grown", 0, 1)
    first = build(store, {"attempt-0": 1.0, "attempt-1": 1.0})
    kept = {key: data for key, data in store.objects.items() if key.startswith(SKETCHES)}
    assert len(kept) == 2
    add(store, tmp_path / "grown", 2)
    weights = {"attempt-1": 0.25, "attempt-2": 3.0}
    second = build(store, weights, parent=first.id)
    now = {key for key in store.objects if key.startswith(SKETCHES)}
    assert len(now - kept.keys()) == 1  # the new episode's alone
    assert all(store.objects[key] == data for key, data in kept.items())
    fresh = accept(tmp_path / "fresh", 0, 1, 2)
    assert files(fresh, build(fresh, weights)) == files(store, second)
    tables = [columns(drafted(seed))["state"].astype(np.float64) for seed in (1, 2)]
    [found] = load_statistics(store, second).values()
    means = np.average(np.concatenate(tables), axis=0, weights=np.repeat([0.25, 3.0], [5, 6]))
    assert [channel.mean for channel in found.state] == pytest.approx(means.tolist(), rel=1e-9)
    assert (found.episodes, found.rows, found.weight) == (2, 11, 19.25)
    _, stated = files(store, second)
    assert stated["observation.state"]["mean"] == pytest.approx(np.concatenate(tables).mean(axis=0).tolist(), rel=1e-9)


def test_a_sketch_is_made_again_when_missing_and_believed_only_when_it_is_its_episode_s(tmp_path: Path) -> None:
    store = accept(tmp_path, 0, 1)
    version = build(store, {"attempt-0": 1.0, "attempt-1": 1.0})
    before = dict(store.objects)
    first, second = (sketch_key(episode.content_id) for episode in version.episodes)
    del store.objects[first]
    assert build(store, {"attempt-0": 1.0, "attempt-1": 1.0}) == version
    assert store.objects == before
    store.objects[first] = before[second]
    with pytest.raises(StorageError, match="E-STORE-007"):
        build(store, {"attempt-0": 1.0})
    body = json.loads(before[second])["body"]
    body["state"]["totals"][0] = f"{int(body['state']['totals'][0], 16) + 1:x}"
    store.objects[second] = canonical_json({"body": body, "sha256": sha256_bytes(canonical_json(body))})
    store.objects[first] = before[first]
    with pytest.raises(StorageError, match="not those of the rows"):
        build(store, {"attempt-0": 1.0, "attempt-1": 1.0})


def test_statistics_are_read_back_and_verified(tmp_path: Path) -> None:
    store = accept(tmp_path, 0)
    version = build(store, {"attempt-0": 1.0})
    [found] = load_statistics(store, version).values()
    assert EmbodimentStatistics.from_bytes(found.to_bytes()) == found
    key = object_key(version, "rover/volano/statistics.json")
    store.objects[key] = store.objects[key].replace(b'"rows":4', b'"rows":5')
    with pytest.raises(StorageError, match="E-STORE-007"):
        load_statistics(store, version)
    for spoiled in (b"[]", b"{}", b"x", found.to_bytes().replace(b"volano.statistics.1", b"volano.statistics.0")):
        with pytest.raises(DataError, match="E-DATA-013"):
            EmbodimentStatistics.from_bytes(spoiled)
