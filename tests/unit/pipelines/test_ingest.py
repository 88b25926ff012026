"""What an actor that judges says of a failure: the error itself, across Ray Data, which makes text of exceptions."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.ingest import Judge, require_judged
from tests.unit.data.bundles import Draft, claims_with, upload, write_bundle
from volano.embodiment.shipped import SCOUT
from volano.errors import StorageError, SystemMissingError
from volano.storage.open import open_store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with one upload."""
    store = open_store(str(tmp_path / "store"))
    manifest = write_bundle(tmp_path / "bundle", Draft(embodiment=SCOUT, robot="scout-01", frames=8))
    upload(store, tmp_path / "bundle", claims_with(manifest, attempt="attempt-1"))
    return tmp_path / "store"


def told(store: Path) -> dict[str, str]:
    """The one row that an actor has to say."""
    columns = Judge(str(store), {SCOUT.fingerprint: SCOUT})({"upload": np.array(["uploads/scout-01/attempt-1.json"])})
    assert {len(column) for column in columns.values()} == {1}
    return {name: str(column[0]) for name, column in columns.items()}


def test_a_sound_upload_is_judged(place: Path) -> None:
    row = told(place)
    require_judged(row)
    assert (row["verdict"], row["code"]) == ("accepted", "")


def test_a_checking_process_that_cannot_start_keeps_its_code(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    row = told(place)
    with pytest.raises(SystemMissingError, match="E-SYSTEM-002"):
        require_judged(row)


def test_a_store_that_fails_keeps_its_code(place: Path) -> None:
    (place / "episodes").write_bytes(b"in the way")
    row = told(place)
    with pytest.raises(StorageError, match="E-STORE-"):
        require_judged(row)
