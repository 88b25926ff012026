"""The mobile bases' expert as a pure decision."""

import pytest

from volano.evaluate.simulators.seek import Target, steer


def test_the_expert_of_a_mobile_base_searches_to_the_left_and_goes_round() -> None:
    behind = steer(Target(distance_m=2.0, bearing_rad=3.0), ())
    assert (behind.speed_m_s, behind.look_rad > 0) == (0.0, True)
    assert steer(Target(distance_m=2.0, bearing_rad=-3.0), ()).look_rad > 0
    straight = steer(Target(distance_m=3.0, bearing_rad=0.1), ())
    assert straight.direction_rad == pytest.approx(0.1)
    passing = steer(Target(distance_m=4.0, bearing_rad=0.1), (Target(distance_m=1.5, bearing_rad=0.2),))
    assert passing.direction_rad < -0.3
    beyond = steer(Target(distance_m=2.0, bearing_rad=0.1), (Target(distance_m=3.0, bearing_rad=0.1),))
    assert beyond.direction_rad == pytest.approx(0.1)
