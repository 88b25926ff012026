"""How many processes `volano data convert` starts by itself."""

import inspect
import os
from pathlib import Path

import pytest

from volano.commands.convert import convert, cores


@pytest.mark.parametrize(
    ("said", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 9999), ("", 9999)]
)
def test_a_container_is_not_asked_for_more_than_its_share(tmp_path: Path, said: str, most: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(said)
    assert cores(quota) == min(most, len(os.sched_getaffinity(0)))
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_the_command_asks_for_it_where_nobody_says_a_number() -> None:
    """A number of the whole machine as default would be more than a container may use, and than the option takes."""
    assert inspect.signature(convert).parameters["workers"].default is None
