"""What an actor that judges says of a failure: the error itself, across Ray Data, which makes text of exceptions."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.ingest import Judge, main, require_judged
from tests.unit.data.bundles import ROVER, Draft, claims_with, upload, write_bundle
from volano.data.contracts import known_contracts
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


def test_a_robot_of_one_s_own_is_judged_by_the_contract_in_its_file(place: Path, tmp_path: Path) -> None:
    upload(open_store(str(place)), tmp_path / "own", write_bundle(tmp_path / "own", Draft(robot="rover-07")))
    (tmp_path / "rover.json").write_text(json.dumps(ROVER.to_json()))
    keys = {"upload": np.array(["uploads/rover-07/attempt-0001.json"])}
    assert Judge(str(place), known_contracts([tmp_path / "rover.json"]))(keys)["verdict"].tolist() == ["accepted"]


@pytest.mark.parametrize(("name", "status"), [("none.json", 2), ("bad.json", 3)])
def test_a_contract_that_is_none_ends_the_application_before_anything_is_judged(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    (tmp_path / "bad.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["ingest", "--store", str(place), "--contract", str(tmp_path / name)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert not list(open_store(str(place)).list("verdicts/"))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--store", "typo"], 7), (["--store", ""], 7), (["--store", "s", "--workers", "0"], 2), ([], 7)],
)
def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLANO_STORE", raising=False)
    monkeypatch.setattr(sys, "argv", ["ingest", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert not list(tmp_path.iterdir())


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
