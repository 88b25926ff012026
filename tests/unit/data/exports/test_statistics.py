"""An export's statistics are those of the rows that its reader will see."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.data.bundles import ROVER
from tests.unit.data.exports.versions import make
from volano.data.exports import layout, statistics
from volano.data.exports.export import export


def table(values: NDArray[np.float32], episode: int = 0) -> pa.Table:
    return layout.frame_table(ROVER, values, values, episode=episode, position=0, task=0)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 9))
def test_chunks_are_counted_as_a_reader_makes_them(lengths: list[int], horizon: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    episodes = [random.normal(size=(length, 2)).astype(np.float32) for length in lengths]
    chunks = [
        episode[min(start + ahead, len(episode) - 1)]
        for episode in episodes
        for start in range(len(episode))
        for ahead in range(horizon)
    ]
    rows = pa.concat_tables([table(episode, number) for number, episode in enumerate(episodes)])
    found = statistics.chunks(rows, lengths, horizon)["norm_stats"]["actions"]
    np.testing.assert_allclose(found["mean"], np.mean(chunks, axis=0, dtype=np.float64), atol=1e-12)
    np.testing.assert_allclose(found["std"], np.std(chunks, axis=0, dtype=np.float64), atol=1e-12)
    for name, share in (("q01", 0.01), ("q99", 0.99)):
        assert found[name] == np.quantile(chunks, share, axis=0, method="inverted_cdf").astype(np.float64).tolist()


def test_columns_and_episodes_hold_what_readers_ask_for(tmp_path: Path) -> None:
    made = make(tmp_path, ("alone", "demonstrated"))
    export(made.store, made.version.id, "starvla", tmp_path / "out")
    meta = tmp_path / "out" / "rover" / "meta"
    cached = json.loads((meta / "stats_gr00t.json").read_text())
    assert (cached["__format_version"], cached["__cache_config"]) == (2, {"mode": "abs"})
    features = json.loads((meta / "info.json").read_text())["features"]
    assert set(cached["statistics"]) == {name for name in features if "images" not in name}
    for name, described in cached["statistics"].items():
        assert set(described) == {"mean", "std", "min", "max", "q01", "q99"}
        assert {len(row) for row in described.values()} == {features[name]["shape"][0]}
    for line in (meta / "episodes_stats.jsonl").read_text().splitlines():
        stats = json.loads(line)["stats"]
        assert set(stats) == set(features)
        assert stats["action"]["count"] == [40]
        assert np.shape(stats["observation.images.ego"]["mean"]) == (3, 1, 1)


def test_a_command_of_a_state_is_absolute_and_a_change_is_not() -> None:
    from volano.embodiment.shipped import CAR, SAWYER, SCOUT

    absolute = {
        robot.tag: [channel["absolute"] for channel in layout.modality(robot)["action"].values()]
        for robot in (SAWYER, SCOUT, CAR)
    }
    assert absolute == {"sawyer": [False] * 4, "scout": [True] * 2, "car": [False] * 3}
    places = [(channel["start"], channel["end"]) for channel in layout.modality(CAR)["state"].values()]
    assert places == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_vector_of_one_number_is_a_list() -> None:
    rows = statistics.matrix(table(np.arange(6, dtype=np.float32).reshape(3, 2))["action"])
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="weights"):
        statistics.chunks(table(np.zeros((3, 2), np.float32)), [2], 4)
