"""What earlier loads took is remembered across gateways."""

from pathlib import Path

from serving.loads import Loads


def test_the_median_of_the_last_loads_is_expected(tmp_path: Path) -> None:
    loads = Loads(tmp_path / "loads.json")
    assert loads.expected_s is None
    for seconds in (10.0, 30.0, 20.0):
        loads.note(seconds)
    assert Loads(tmp_path / "loads.json").expected_s == 20.0
    for _ in range(20):
        loads.note(5.0)
    assert Loads(tmp_path / "loads.json").expected_s == 5.0, "old ones are forgotten"
