"""How many processes `volano data convert` starts by itself."""

import os
from pathlib import Path

import pytest

from volano.commands.convert import cores


@pytest.mark.parametrize(
    ("said", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 9999), ("", 9999)]
)
def test_a_container_is_not_asked_for_more_than_its_share(tmp_path: Path, said: str, most: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(said)
    assert cores(quota) == min(most, len(os.sched_getaffinity(0)))
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))
