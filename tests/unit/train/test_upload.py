"""A checkpoint in a store is whole or not there, comes back as it was, and a store that fails stops nobody."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.errors import Code, StorageError, TrainError
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectInfo
from volano.train.checkpoint import IN_USE, begin, commit, folder_of, newest, newest_name, write_part
from volano.train.journal import Journal, read_journal
from volano.train.layout import CHECKPOINTS, JOURNAL, RUN
from volano.train.upload import Uploader, claim, restore, upload


class Failing:
    """A store of which the calls with these numbers fail, and of which all fail from `dies` on."""

    def __init__(
        self,
        root: Path,
        fails: frozenset[int] = frozenset(),
        dies: int = 1 << 30,
        error: Exception | None = None,
    ) -> None:
        root.mkdir(exist_ok=True)
        self._store = FolderStore(root)
        self.url = self._store.url
        self.calls, self.fails, self.dies, self.error = 0, fails, dies, error

    def _call(self) -> FolderStore:
        self.calls += 1
        if self.calls in self.fails or self.calls >= self.dies:
            raise self.error or StorageError(Code.STORE_UNAVAILABLE, f"call {self.calls} fails", "wait")
        return self._store

    def put_new(self, key: str, data: bytes) -> bool:
        return self._call().put_new(key, data)

    def put_new_file(self, key: str, path: Path) -> bool:
        return self._call().put_new_file(key, path)

    def get(self, key: str) -> bytes:
        return self._call().get(key)

    def get_file(self, key: str, path: Path) -> None:
        self._call().get_file(key, path)

    def exists(self, key: str) -> bool:
        return self._call().exists(key)

    def size(self, key: str) -> int | None:
        return self._call().size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._call().list(prefix)

    def delete(self, key: str) -> None:
        self._call().delete(key)


def checkpoint(output: Path, step: int) -> str:
    """A complete checkpoint of a run."""
    root = output / CHECKPOINTS
    folder = begin(root, 0, step)
    (folder / "state").mkdir()
    for name in ("state/rank-0.pt", "state/rank-1.pt", "average.safetensors"):
        (folder / name).write_bytes(f"{name} at {step}".encode())
    write_part(folder, 0, ["state/rank-0.pt", "average.safetensors"])
    write_part(folder, 1, ["state/rank-1.pt"])
    commit(root, stage=0, step=step, world=2, layout="deepspeed zero-1 adamw")
    return folder.name


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run's folder with a description."""
    return run_folder(tmp_path)


def run_folder(place: Path) -> Path:
    folder = place / "run"
    folder.mkdir()
    (folder / RUN).write_text('{"request": {}}')
    return folder


def test_a_run_goes_on_from_an_empty_folder(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    journal = Journal(output / JOURNAL)
    for step in (1, 2, 3):
        journal.append(step, {"loss": float(step)})
        assert upload(store, output, checkpoint(output, step))
        assert not upload(store, output, newest_name(output / CHECKPOINTS)), "it is there"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert restore(store, elsewhere) == folder_of(output, 0, 3).name
    found = newest(elsewhere / CHECKPOINTS)
    assert found is not None
    assert (found.step, found.world, found.layout) == (3, 2, "deepspeed zero-1 adamw")
    assert (found.folder / "state" / "rank-1.pt").read_bytes() == b"state/rank-1.pt at 3"
    assert (elsewhere / RUN).read_text() == (output / RUN).read_text()
    assert [step for step, _, _ in read_journal(elsewhere / JOURNAL)] == [1, 2, 3]
    assert restore(store, elsewhere) == "", "what is there is not fetched again"


def test_the_store_keeps_the_newest_two(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    for step in range(1, 6):
        upload(store, output, checkpoint(output, step))
    assert {info.key.split("/")[1] for info in store.list("checkpoints/")} == {
        folder_of(output, 0, step).name for step in (4, 5)
    }


def test_what_is_being_uploaded_stays_while_newer_ones_are_written(output: Path) -> None:
    name = checkpoint(output, 1)
    in_use = output / CHECKPOINTS / name / IN_USE
    in_use.touch()
    for step in (2, 3, 4):
        checkpoint(output, step)
    assert newest(output / CHECKPOINTS) is not None
    assert (output / CHECKPOINTS / name / "average.safetensors").exists()
    in_use.unlink()
    checkpoint(output, 5)
    assert not in_use.parent.exists()


def test_a_damaged_object_is_passed_over_and_another_machines_is_not_mixed_in(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    for step in (1, 2):
        upload(store, output, checkpoint(output, step))
    manifest = json.loads(store.get(f"checkpoints/{folder_of(output, 0, 2).name}/manifest.json"))
    digest = manifest["record"]["files"]["average.safetensors"]["sha256"]
    damaged = store.root / "checkpoints" / folder_of(output, 0, 2).name / digest
    damaged.chmod(0o644)
    damaged.write_bytes(b"flipped")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert restore(store, elsewhere) == folder_of(output, 0, 1).name


def test_a_manifest_that_leaves_the_folder_is_passed_over(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    name = folder_of(output, 0, 1).name
    files = {"../../escaped": {"size": 1, "sha256": "0" * 64}}
    manifest = {"schema": 1, "record": {"schema": 1, "files": files}, "beside": {}}
    store.put_new(f"checkpoints/{name}/manifest.json", json.dumps(manifest).encode())
    store.put_new(f"checkpoints/{name}/{'0' * 64}", b"x")
    (output / RUN).unlink()
    assert restore(store, output) == ""
    assert not (tmp_path / "escaped").exists()


def test_a_damaged_checkpoint_is_not_uploaded_and_its_name_stays_free(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    for step in (1, 2):
        name = checkpoint(output, step)
    (output / CHECKPOINTS / name / "average.safetensors").write_bytes(b"flipped")
    with pytest.raises(StorageError, match="E-STORE-007"):
        upload(store, output, name)
    assert newest_name(output / CHECKPOINTS) == folder_of(output, 0, 1).name
    assert not store.exists(f"checkpoints/{name}/manifest.json")
    assert checkpoint(output, 2) == name
    assert upload(store, output, name)


def test_what_came_from_elsewhere_is_adopted_before_it_is_seen_and_what_is_here_never(
    output: Path, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    upload(store, output, checkpoint(output, 1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def killed(_description: bytes) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(store, elsewhere, killed)
    assert newest(elsewhere / CHECKPOINTS) is None, "a checkpoint is seen before its run is this folder's"
    assert not (elsewhere / RUN).exists()
    assert restore(store, elsewhere, lambda _: b"ours")
    assert (elsewhere / RUN).read_bytes() == b"ours"
    upload(store, output, checkpoint(output, 2))
    assert restore(store, elsewhere, lambda _: b"changed") == folder_of(output, 0, 2).name
    assert (elsewhere / RUN).read_bytes() == b"ours"


def test_an_upload_that_fails_as_nobody_expected_is_told_and_tried_again(
    output: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(tmp_path / "store", fails=frozenset({2}), error=RuntimeError("a defect"))
    name = checkpoint(output, 1)
    uploader = Uploader(store, output, chance=lambda: -0.49, look_s=0.01)
    assert uploader.finish(20)
    assert store._store.exists(f"checkpoints/{name}/manifest.json")
    assert "RuntimeError: a defect" in caplog.text


def test_a_store_belongs_to_one_run(output: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.root.mkdir()
    claim(store, output)
    claim(store, output)
    other = tmp_path / "other"
    other.mkdir()
    run_folder(other)
    with pytest.raises(TrainError, match=r"E-TRAIN-001 .*another run"):
        claim(store, other / "run")


@given(fails=st.frozensets(st.integers(1, 60), max_size=12), dies=st.integers(1, 80))
def test_whatever_call_fails_the_store_has_whole_checkpoints_or_none(
    tmp_path_factory: pytest.TempPathFactory, fails: frozenset[int], dies: int
) -> None:
    place = tmp_path_factory.mktemp("failing")
    try:
        folder = run_folder(place)
        store, done = Failing(place / "store", fails, dies), ""
        for step in (1, 2, 3):
            name = checkpoint(folder, step)
            try:
                upload(store, folder, name)
                done = name
            except StorageError:
                continue
        elsewhere = place / "elsewhere"
        elsewhere.mkdir()
        found = restore(FolderStore(place / "store"), elsewhere)
        assert found >= done, "what was said to be there is not"
        end = newest(elsewhere / CHECKPOINTS)
        assert (end.folder.name if end else "") == found
    finally:
        shutil.rmtree(place)


def test_a_store_that_is_away_is_asked_again_and_delays_nobody(
    output: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(tmp_path / "store", fails=frozenset(range(1, 3)))
    uploader = Uploader(store, output, chance=lambda: -0.49, look_s=0.01)
    checkpoint(output, 1)
    name = checkpoint(output, 2)
    assert uploader.finish(20)
    assert store._store.exists(f"checkpoints/{name}/manifest.json")
    assert "is not in" in caplog.text
    dead = Uploader(Failing(tmp_path / "store", dies=1), output, chance=lambda: -0.49, look_s=0.01)
    begun = time.monotonic()
    assert not dead.finish(0.3)
    assert time.monotonic() - begun < 5


def test_without_the_store_a_run_goes_on_from_what_is_here(output: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="E-STORE-004"):
        restore(Failing(tmp_path / "store", dies=1), output)
    checkpoint(output, 1)
    assert restore(Failing(tmp_path / "store", dies=1), output) == ""
