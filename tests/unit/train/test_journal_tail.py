"""A reader that follows a journal sees every step once, however the lines come."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.train.journal import Journal, JournalTail


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    tail = JournalTail(path)
    assert tail.look() == []
    Journal(path).append(0, {"loss": 1.0})
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert tail.look() == []
    path.write_bytes(whole)
    assert [step for step, _, _ in tail.look()] == [0]
    assert tail.look() == []


@given(starts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8)), max_size=5), cuts=st.lists(st.integers(1, 400)))
def test_every_step_is_told_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, int]], cuts: list[int]
) -> None:
    """Each start goes back some steps from where the one before was killed."""
    place = tmp_path_factory.mktemp("tail")
    written, step = place / "written", 0
    for back, forward in starts:
        step = max(0, step - back)
        for _ in range(forward):
            Journal(written).append(step, {"loss": float(step)})
            step += 1
    data = written.read_bytes() if starts else b""
    seen, tail = [], JournalTail(place / "followed")
    for cut in [*sorted(cuts), len(data)]:
        (place / "followed").write_bytes(data[:cut])
        seen += [number for number, _, _ in tail.look()]
    assert seen == list(range(max(seen, default=-1) + 1))
    assert len(seen) == max((max(0, one) for one in _heights(starts)), default=0)


def _heights(starts: list[tuple[int, int]]) -> list[int]:
    step, found = 0, []
    for back, forward in starts:
        step = max(0, step - back) + forward
        found.append(step)
    return found
