"""What is known about uploads that were not believed."""

from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, Draft, upload, write_bundle
from tests.unit.data.defects import DEFECTS
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.quarantined import check, send_paused
from volano.data.judge import judge
from volano.data.quarantine import dossier, held, robot_of
from volano.data.readmit import propose, readmit
from volano.data.verdict import pending, upload_key
from volano.errors import Code, DataError

PAUSED, BROKEN = "uploads/rover-01/paused.json", "uploads/rover-02/broken.json"


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """One accepted episode, one with a pause, one with NaN by another robot, and one that is no manifest."""
    made = MemoryStore()
    upload(made, tmp_path / "clean", write_bundle(tmp_path / "clean", Draft(frames=4)))
    send_paused(made, tmp_path / "paused", Draft(seed=1, attempt="paused", frames=4))
    broken = Draft(seed=2, robot="rover-02", attempt="broken", frames=4)
    upload(made, tmp_path / "broken", DEFECTS["NaN action"][1](tmp_path / "broken", broken))
    made.put_new("uploads/rover-01/junk.json", b"{")
    judge(made, pending(made), KNOWN, check)
    return made


def let_in(store: MemoryStore) -> None:
    proposed = propose(store, PAUSED, also=(), reason="w", by="ada", now=1.0, known=KNOWN, check=check)
    readmit(store, None, proposed)


def test_what_is_held_is_told_by_code_and_robot(store: MemoryStore) -> None:
    assert [one.upload for one in held(store)] == [PAUSED, BROKEN]
    assert [one.upload for one in held(store, code=Code.DATA_CLOCK)] == [PAUSED]
    assert [one.upload for one in held(store, robot="rover-02")] == [BROKEN]
    assert list(held(store, code=Code.DATA_CLOCK, robot="rover-02")) == list(held(store, robot="rover-0")) == []
    let_in(store)
    assert [one.upload for one in held(store)] == [BROKEN]


def test_an_upload_is_told_with_its_bytes_and_its_fate(store: MemoryStore) -> None:
    found = dossier(store, PAUSED)
    assert found.verdict is not None
    assert (found.stands, found.verdict.code, found.owner) == ("quarantined", Code.DATA_CLOCK, "")
    assert all(file.stored == file.size == len(store.get(file.key)) for file in found.files)
    assert len(found.files) == 3
    let_in(store)
    again = dossier(store, PAUSED)
    assert (again.stands, again.owner) == ("accepted", PAUSED)
    assert again.readmission is not None
    del store.objects[found.files[0].key]
    assert dossier(store, PAUSED).files[0].stored is None


def test_what_has_no_manifest_is_told_as_well(store: MemoryStore) -> None:
    found = dossier(store, "uploads/rover-01/junk.json")
    assert (found.stands, found.manifest, found.files) == ("rejected", None, ())
    store.put_new("uploads/rover-01/new.json", b"{")
    assert dossier(store, "uploads/rover-01/new.json").stands == "in flight"
    with pytest.raises(DataError, match="E-DATA-072"):
        dossier(store, "uploads/rover-01/never.json")


@pytest.mark.parametrize("name", ["rover-01/paused", "rover-01/paused.json", PAUSED])
def test_an_upload_has_one_key_however_it_is_named(name: str) -> None:
    assert upload_key(name) == PAUSED
    assert robot_of(PAUSED) == "rover-01"


@pytest.mark.parametrize("name", ["../b", "/", "a/../b", "\x1b[2J", "uploads/", "a" * 2000])
def test_what_can_be_no_key_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="E-DATA-072"):
        upload_key(name)
