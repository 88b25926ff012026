"""What an actor that makes features says: how many, and each failure by its code, across Ray Data."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.curate import Maker
from tests.unit.data.bundles import Draft, manifest_of, upload, write_bundle
from tests.unit.data.quarantined import lax
from volano.data.build import accepted
from volano.data.curation.make import missing
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import SCOUT
from volano.storage.folder import FolderStore
from volano.storage.open import open_store

KNOWN = {SCOUT.fingerprint: SCOUT}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with a sound episode, and one that was let in although its video is none."""
    opened = open_store(str(tmp_path / "store"))
    for number in range(2):
        folder = tmp_path / str(number)
        draft = Draft(embodiment=SCOUT, robot="scout-01", attempt=f"attempt-{number}", frames=8, seed=number)
        manifest = write_bundle(folder, draft)
        if number:
            path = folder / "camera.ego.mp4"
            data = path.read_bytes()
            path.write_bytes(data[:100] + bytes(len(data) - 100))
            manifest = manifest_of(folder, draft)
        upload(opened, folder, manifest)
    judge(opened, pending(opened), KNOWN, lax)
    assert isinstance(opened, FolderStore)
    return opened


def told(store: FolderStore, known: dict[str, Embodiment]) -> list[dict[str, str]]:
    """The rows that an actor has to say of everything that is missing."""
    columns = Maker(store.url, known)({"content": np.array(missing(store, accepted(store)))})
    return [dict(zip(columns, map(str, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_sound_episode_is_done_and_a_broken_one_is_said(store: FolderStore) -> None:
    done, failed = told(store, KNOWN)
    assert (done["episodes"], done["error"]) == ("1", "")
    assert (failed["error"], failed["code"]) == ("DataError", "E-DATA-100")
    assert "scout-01/attempt-1: E-DATA-001" in failed["cause"]
    assert len(missing(store, accepted(store))) == 1


def test_an_unknown_contract_keeps_its_code(store: FolderStore) -> None:
    done, failed = told(store, {})
    assert (done["episodes"], failed["error"], failed["code"]) == ("0", "ContractError", "E-CONTRACT-002")
