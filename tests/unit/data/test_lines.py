"""Journals of processes that die while they write."""

import json
from pathlib import Path
from tempfile import NamedTemporaryFile

from hypothesis import given
from hypothesis import strategies as st

from volano.data.lines import numbered, read_lines, read_turns

ENTRIES = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3), max_size=6)


@given(entries=ENTRIES, cut=st.integers(0, 40))
def test_a_torn_end_loses_no_whole_entry(entries: list[dict[str, object]], cut: int) -> None:
    whole = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    torn = whole[: max(0, len(whole) - cut)]
    with NamedTemporaryFile() as file:
        Path(file.name).write_bytes(torn)
        found = read_lines(Path(file.name))
    assert found == entries[: len(found)]
    assert len(found) >= torn.count(b"\n")


def test_no_file_holds_no_entry(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == []


def test_what_is_no_entry_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text('[1]\n{"a": 1}\nnot json\n{"b": 2}\n')
    assert read_lines(path) == [{"a": 1}, {"b": 2}]


def test_a_log_whose_files_take_turns_is_read_from_its_oldest_file_on(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    assert read_turns(path) == []
    for number in (0, 1, 3):  # a turn is under way: what was the second is the third already
        numbered(path, number).write_text(json.dumps({"number": number}) + "\n")
    assert [entry["number"] for entry in read_turns(path)] == [3, 1, 0]
