"""What there is, with whole identifiers; and a place that is none is not made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.flywheel.season import CANDIDATE, CURRENT, equip
from volano.cli import app
from volano.data.version import DatasetVersion, EpisodeReference, commit, describe_folder
from volano.embodiment.shipped import SCOUT
from volano.errors import StorageError
from volano.ledger.ledger import open_ledger
from volano.storage.folder import FolderStore


def volano(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_policies_are_listed_with_where_they_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with open_ledger(url) as ledger:
        equip(ledger)
    first, second = json.loads(volano("policy", "ls", "--ledger", url, "--json"))
    assert (first["digest"], first["in_place"]) == (CURRENT, ["glider", "scout"])
    assert (second["digest"], second["in_place"]) == (CANDIDATE, [])
    assert f"next: volano rollout new NAME {CANDIDATE[:12]} --ledger {url}" in volano("policy", "ls", "--ledger", url)


def test_versions_are_listed_behind_their_parents(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store, parent, made = FolderStore(tmp_path / "store"), "", []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "data.txt").write_text(str(number))
        version = DatasetVersion(
            parent=parent,
            reason=f"turn {number}",
            episodes=(EpisodeReference(content_id="a" * 64, embodiment=SCOUT.fingerprint, weight=1.0),),
            embodiments={"scout": SCOUT},
            files=describe_folder(folder),
        )
        parent = commit(store, folder, version)
        made.append(parent)
    found = json.loads(volano("data", "versions", "--store", str(tmp_path / "store"), "--json"))
    assert [version["id"] for version in found] == made
    assert f"--version {made[-1]}" in volano("data", "versions", "--store", str(tmp_path / "store"))


@pytest.mark.parametrize("verb", ["counts", "versions"])
def test_a_store_that_is_none_is_refused_and_not_made(tmp_path: Path, verb: str) -> None:
    with pytest.raises(StorageError, match="there is no store"):
        volano("data", verb, "--store", str(tmp_path / "nothing"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "store").mkdir()
    (tmp_path / "ledger.db").touch()
    with pytest.raises(StorageError, match=r"is a home, not a store\n  fix: did you mean .*/store"):
        volano("data", verb, "--store", str(tmp_path))
