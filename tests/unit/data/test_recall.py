"""What a person means by a recall, and that no version holds it afterwards."""

import json
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, Draft, claims_with, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.quarantined import check, send_paused
from volano.data.build import accepted, build_version, write_version
from volano.data.judge import judge
from volano.data.recall import Recall, Selection, matching, recall_key, recalled, recalls
from volano.data.verdict import pending
from volano.errors import DataError, StorageError


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """Three accepted episodes of one robot, begun an hour apart, one of another robot, and one in quarantine."""
    made = MemoryStore()
    for seed in range(4):
        robot = "rover-02" if seed == 3 else "rover-01"
        draft = Draft(seed=seed, robot=robot, attempt=f"attempt-{seed}", frames=4, first_number=10 * seed)
        manifest = write_bundle(tmp_path / str(seed), draft)
        upload(made, tmp_path / str(seed), claims_with(manifest, started_at=1_600_001_000.0 + 3600 * seed))
    send_paused(made, tmp_path / "paused", Draft(seed=5, attempt="paused", frames=4, first_number=50))
    judge(made, pending(made), KNOWN, check)
    return made


def meant(store: MemoryStore, **conditions: object) -> list[str]:
    found = matching(store, Selection(**conditions))  # type: ignore[arg-type]  # conditions by name
    return [key.removeprefix("uploads/").removesuffix(".json") for key, _ in found]


def test_every_condition_has_to_hold(store: MemoryStore) -> None:
    assert meant(store, robot="rover-02") == ["rover-02/attempt-3"]
    assert meant(store, robot="rover-01", until=1_600_008_200.0) == ["rover-01/attempt-0", "rover-01/attempt-1"]
    assert meant(store, robot="rover-01", since=1_600_004_600.0, until=1_600_008_200.0) == ["rover-01/attempt-1"]
    key = "uploads/rover-01/attempt-2.json"
    assert meant(store, uploads=frozenset({key})) == ["rover-01/attempt-2"]
    assert meant(store, uploads=frozenset({key}), robot="rover-02") == []
    assert meant(store, robot="rover-0") == []


def test_what_waits_in_quarantine_is_meant_too(store: MemoryStore) -> None:
    assert "rover-01/paused" in meant(store, robot="rover-01")


def test_everything_is_never_meant(store: MemoryStore) -> None:
    with pytest.raises(DataError, match="E-DATA-071"):
        meant(store)
    with pytest.raises(DataError, match="E-DATA-072"):
        meant(store, uploads=frozenset({"uploads/rover-01/never.json"}))


def test_who_writes_under_anothers_name_takes_nothing_of_theirs_back(store: MemoryStore) -> None:
    """A manifest of rover-02's episode, put as rover-01's and dated into the time that is recalled."""
    [theirs] = [one for one in accepted(store) if one.robot == "rover-02"]
    store.put_new("uploads/rover-01/forged.json", claims_with(theirs, started_at=1_600_001_000.0).to_bytes())
    assert theirs.content_id not in dict(matching(store, Selection(until=1_600_001_001.0))).values()
    store.put_new("uploads/rover-01/junk.json", b"{")
    assert meant(store, until=1_600_001_001.0) == ["rover-01/attempt-0"]


def test_a_recalled_episode_is_in_no_later_version(store: MemoryStore) -> None:
    gone = accepted(store)[0]
    recall = Recall(contents=(gone.content_id,), reason="bad", by="ada", at=1.0)
    store.put_new(recall_key(recall.id), recall.to_bytes())
    version = build_version(store, parent="", reason="next", select=lambda _: 1.0, known=KNOWN)
    assert len(version.episodes) == 3
    assert gone.content_id not in {episode.content_id for episode in version.episodes}
    assert gone in accepted(store), "what the fleet did stays evidence for a rollout"
    with pytest.raises(DataError, match="E-DATA-071"):
        write_version(store, [(gone, 1.0)], parent="", reason="written when it was recalled", known=KNOWN)


def test_a_recall_is_its_contents_and_reason(store: MemoryStore) -> None:
    recall = Recall(contents=("a" * 64, "b" * 64), reason="bad", by="ada", at=1.0)
    store.put_new(recall_key(recall.id), recall.to_bytes())
    assert recalls(store) == [recall]
    assert recalled(store) == {"a" * 64, "b" * 64}
    assert Recall(contents=recall.contents, reason="bad", by="bob", at=2.0).id == recall.id
    assert Recall(contents=recall.contents, reason="other", by="ada", at=1.0).id != recall.id


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"contents":["a"],"reason":"bad","by":"ada","at":1.0}'])
def test_a_recall_that_was_changed_is_noticed(store: MemoryStore, damage: bytes) -> None:
    """Left out unnoticed, it would let the episodes back in."""
    store.objects[recall_key("0" * 64)] = damage
    with pytest.raises(StorageError, match="E-STORE-007"):
        recalled(store)


def test_a_recall_reads_back_as_plain_json() -> None:
    recall = Recall(contents=("a" * 64,), reason="bad", by="ada", at=1.0)
    assert json.loads(recall.to_bytes()) == {"contents": ["a" * 64], "reason": "bad", "by": "ada", "at": 1.0}
