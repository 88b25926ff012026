"""No finished episode is lost or believed when damaged, wherever the writer was killed."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.evaluate.evaluations import first, results
from volano.evaluate.journal import EpisodeJournal, Played
from volano.evaluate.suite import SeedPool

EPISODES = results("scout", first(3, 5))


def test_what_was_appended_is_read_by_name(tmp_path: Path) -> None:
    journal = EpisodeJournal(tmp_path / "episodes.jsonl")
    assert journal.read() == {}
    journal.append("hold", "f" * 64, EPISODES[:2])
    journal.append("policy a", "f" * 64, EPISODES[2:])
    found = EpisodeJournal(tmp_path / "episodes.jsonl").read()
    assert found[Played(who="hold", fingerprint="f" * 64, seed=int(SeedPool.GATE))] == EPISODES[0]
    assert set(found.values()) == set(EPISODES)
    assert {name.who for name in found} == {"hold", "policy a"}


@given(cut=st.integers(0, 2000), flipped=st.none() | st.integers(0, 2000))
def test_a_torn_or_damaged_file_keeps_every_whole_line_and_can_be_continued(cut: int, flipped: int | None) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "episodes.jsonl"
        journal = EpisodeJournal(path)
        journal.append("hold", "f" * 64, EPISODES[:3])
        whole = path.read_bytes()
        data = bytearray(whole[: max(0, len(whole) - cut)])
        if flipped is not None and flipped < len(data):
            data[flipped] ^= 0x20
        path.write_bytes(data)
        journal.append("hold", "f" * 64, EPISODES[3:])
        kept = [line for line in bytes(data).splitlines() if line in whole.splitlines()]
        found = set(journal.read().values())
        assert found >= set(EPISODES[3:])
        assert found <= set(EPISODES)
        assert len(found) == len(kept) + 2
