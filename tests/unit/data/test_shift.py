"""What one version has over another: nothing over itself, and what was put in."""

import numpy as np
import pytest

from tests.unit.data.sketches import Rows, sketch_of
from volano.data.merge import Weighted
from volano.data.shift import shift
from volano.data.statistics import EmbodimentStatistics, describe
from volano.embodiment.shipped import CAR

ROWS = np.random.default_rng(0).uniform(-1, 1, size=(4000, 4)).astype(np.float32)


def stated(rows: Rows) -> EmbodimentStatistics:
    total = Weighted(CAR)
    total.add(sketch_of("one", rows), 1.0)
    return describe(total)


def test_a_version_lies_nowhere_from_itself() -> None:
    found = shift(stated(ROWS), stated(ROWS))
    assert {(one.mean, one.deviations, one.distance) for one in found.channels} == {(0.0, 0.0, 0.0)}
    assert all(one.clipped <= 0.02 for one in found.channels)
    assert found.cameras == {"ego": (0.0, 0.0, 0.0)}
    assert [(one.vector, one.name) for one in found.channels][3:5] == [("state", "lane_heading"), ("action", "dx")]


def test_a_shift_is_measured_in_the_others_units() -> None:
    moved = ROWS.copy()
    moved[:, 0] += 1
    speed, yaw_rate = shift(stated(ROWS), stated(moved)).channels[:2]
    assert speed.mean == pytest.approx(1.0, abs=1e-6)
    assert speed.deviations == pytest.approx(3**0.5, rel=0.05)
    assert speed.distance == pytest.approx(0.5, abs=0.03)
    assert speed.clipped == pytest.approx(0.5, abs=0.03)
    assert yaw_rate.distance == 0


def test_a_channel_that_never_moved_has_no_deviations() -> None:
    still = ROWS.copy()
    still[:, 2] = 0
    [lane] = [one for one in shift(stated(still), stated(ROWS)).channels if one.name == "lane_offset"]
    assert lane.deviations is None
    assert lane.clipped > 0.9
