"""What was journalled is read back, whatever happened to the last line."""

from pathlib import Path

from volano.train.journal import Journal, read_journal


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(0, {"loss": 1.0})
    Journal(path).append(1, {"loss": 0.5})
    path.write_bytes(path.read_bytes()[:-7])
    assert [step for step, _, _ in read_journal(path)] == [0]
    Journal(path).append(1, {"loss": 0.4})
    assert [(step, metrics["loss"]) for step, _, metrics in read_journal(path)] == [(0, 1.0), (1, 0.4)]


def test_a_step_written_twice_counts_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for loss in (1.0, 0.9):
        journal.append(5, {"loss": loss})
    assert [metrics for _, _, metrics in read_journal(tmp_path / "journal.jsonl")] == [{"loss": 0.9}]
