"""Episodes come back from the file as they went in."""

from pathlib import Path

import numpy as np

from jobs.experiment.data import _path, _write, read
from jobs.experiment.shard import _shots
from tests.unit.train.test_loop import demonstrations


def test_episodes_come_back(tmp_path: Path) -> None:
    episodes = [*demonstrations("scout", ticks=5), *demonstrations("scout", ticks=3)]
    _write(_path(tmp_path, "v" * 64, "scout"), episodes)
    for one, other in zip(episodes, read(tmp_path, "v" * 64, "scout"), strict=True):
        assert (one.instruction, one.succeeded, one.weight) == (other.instruction, other.succeeded, other.weight)
        np.testing.assert_array_equal(one.kinds, other.kinds)
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.state, other.state)
        np.testing.assert_array_equal(one.images[0], other.images[0])


def test_few_shots_take_tasks_in_turn() -> None:
    episodes = demonstrations("scout")
    object.__setattr__(episodes[1], "instruction", "go to the box")
    many = episodes * 3
    assert [one.instruction for one in _shots(many, 4)] == ["go to the box", "open the door"] * 2
    assert _shots(many, 0) is many
