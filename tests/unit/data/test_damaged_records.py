"""Records that cannot be read are refused by a code, and never end who reads them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.bundles import ROVER
from tests.unit.data.memory_store import MemoryStore
from volano.data.bundle import MANIFEST_FILE, REPAIRED_FILE
from volano.data.readmission import Readmission
from volano.data.recall import Recall
from volano.data.repair import Repair, examine
from volano.data.verdict import Verdict, claim_key, owner
from volano.data.version import SCHEMA, DatasetVersion, EpisodeReference, load
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, DataError, StorageError
from volano.storage.content import sha256_bytes

CONTENT = "ab" * 32
DEEP = b"[" * 100_000
NO_JSON = [b"", b"{", b"\xff", b"5", b"[]", DEEP, b'{"upload": "a", "upload": "b"}']
VERDICT = {"upload": "uploads/a/b.json", "content_id": CONTENT, "verdict": "rejected", "code": "", "evidence": ""}
READMISSION = {"upload": "u", "content_id": CONTENT, "codes": ["E-DATA-009"], "reason": "r", "by": "ada", "at": 1.0}
RECALL = {"contents": [CONTENT], "reason": "r", "by": "ada", "at": 1.0}
SOUND = DatasetVersion(
    parent="",
    reason="first",
    episodes=(EpisodeReference(content_id=CONTENT, embodiment="e", weight=1.0),),
    embodiments={},
    files={},
)
VERSION = {"schema": SCHEMA, **asdict(SOUND)}
EPISODE = asdict(SOUND.episodes[0])


def changed(record: dict[str, Any], **changes: object) -> bytes:
    return json.dumps({**record, **changes}).encode()


@pytest.mark.parametrize("data", [*NO_JSON, b"{}", b'{"upload": 5}', b'{"upload": ""}'])
def test_a_damaged_claim(data: bytes) -> None:
    store = MemoryStore()
    store.put_new(claim_key(CONTENT), data)
    with pytest.raises(StorageError) as caught:
        owner(store, CONTENT)
    assert caught.value.code is Code.STORE_CORRUPT


@pytest.mark.parametrize("data", [*NO_JSON, changed(VERDICT, upload=0.5), changed(VERDICT, upload=["a"]), b"{}"])
def test_a_damaged_verdict(data: bytes) -> None:
    assert Verdict.from_bytes(changed(VERDICT)).verdict == "rejected"
    with pytest.raises(DataError, match="E-DATA-014"):
        Verdict.from_bytes(data)


@pytest.mark.parametrize("changes", [{"upload": ["u"]}, {"content_id": None}, {"codes": [1]}, {"at": "now"}])
def test_a_damaged_readmission(changes: dict[str, object]) -> None:
    assert Readmission.from_bytes(changed(READMISSION)).codes == ("E-DATA-009",)
    with pytest.raises(DataError, match="E-DATA-014"):
        Readmission.from_bytes(changed(READMISSION, **changes))


@pytest.mark.parametrize("data", [*NO_JSON, changed(RECALL, contents=[["a"]]), changed(RECALL, by=None)])
def test_a_damaged_recall(data: bytes) -> None:
    assert Recall.from_bytes(changed(RECALL)).contents == (CONTENT,)
    with pytest.raises((ValueError, TypeError, KeyError)):
        Recall.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        *NO_JSON,
        changed(VERSION, schema="volano.dataset.2"),
        changed(VERSION, parent=["a"]),
        changed(VERSION, episodes=[{**EPISODE, "content_id": []}]),
        changed(VERSION, episodes=[{**EPISODE, "weight": "1"}]),
        changed(VERSION, files={"a": {"size": 1, "sha256": 5}}),
    ],
)
def test_a_version_that_has_its_name_and_is_none(data: bytes) -> None:
    store, sound = MemoryStore(), changed(VERSION)
    for record in (sound, data):
        store.put_new(f"datasets/{sha256_bytes(record)}/version.json", record)
    assert load(store, sha256_bytes(sound)) == SOUND
    with pytest.raises(DataError, match="E-DATA-013"):
        load(store, sha256_bytes(data))


@pytest.mark.parametrize(
    "changes",
    [
        {"hold": ["x", 0]},
        {"hold": [10**400, 0]},
        {"rate_hz": "10"},
        {"body": 5},
        {"horizon": 8.0},
        *({"cameras": [{"name": name, "height": 64, "width": 64}]} for name in (None, "", "Ego", "a/b", "../ego")),
        {"cameras": [{"name": "ego", "height": 64, "width": 64}] * 2},
        {"state": [{"name": "speed", "unit": "m/s", "low": "a", "high": "b"}]},
    ],
)
def test_a_contract_with_values_of_another_kind(changes: dict[str, object]) -> None:
    plain = json.loads(json.dumps(ROVER.to_json()))
    assert Embodiment.from_json(plain) == ROVER
    with pytest.raises(ContractError):
        Embodiment.from_json({**plain, **changes})


@pytest.mark.parametrize("data", [*NO_JSON, b"{}", changed({"attempt": "one", "status": "hopeless"})])
def test_a_damaged_note_leaves_a_bundle_whole(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / MANIFEST_FILE).write_bytes(b"{}")
    (tmp_path / "one" / REPAIRED_FILE).write_bytes(data)
    assert examine(tmp_path) == [Repair(attempt="one", status="whole", reason="its note of a repair is damaged")]
