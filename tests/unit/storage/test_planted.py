"""What somebody planted in a shared folder is no part of the store: nothing hangs, escapes it or is believed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from volano.errors import Code, StorageError
from volano.storage.folder import FolderStore
from volano.storage.keys import RESERVED
from volano.storage.open import open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    """A store with one object, beside a folder with a secret; whoever hangs in it is woken."""
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    store = FolderStore(tmp_path / "store")
    store.put_new("uploads/r/a.json", b"{}")
    signal.alarm(20)
    yield store
    signal.alarm(0)


def plant_link(path: Path) -> None:
    path.symlink_to(path.parents[3] / "outside" / "secret")


def plant_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def plant_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [plant_link, plant_device, plant_pipe])
def test_what_is_no_plain_file_is_no_object(plant: Callable[[Path], None], store: FolderStore, tmp_path: Path) -> None:
    plant(store.root / "uploads" / "r" / "b.json")
    assert [info.key for info in store.list("uploads/")] == ["uploads/r/a.json"]
    assert not store.exists("uploads/r/b.json")
    for call in (store.get, lambda key: store.get_file(key, tmp_path / "copy")):
        with pytest.raises(StorageError) as caught:
            call("uploads/r/b.json")
        assert caught.value.code is Code.STORE_MISSING
    with pytest.raises(StorageError) as caught:
        store.put_new("uploads/r/b.json", b"acknowledged")
    assert caught.value.code is Code.STORE_KEY, "whoever is told that it is there must find it there"


def test_a_linked_folder_leads_nowhere(store: FolderStore, tmp_path: Path) -> None:
    for name in ("uploads/out", "verdicts"):
        (store.root / name).symlink_to(tmp_path / "outside")
    assert [info.key for info in store.list("")] == ["uploads/r/a.json"]
    assert not store.exists("uploads/out/secret")
    with pytest.raises(StorageError) as caught:
        store.get("uploads/out/secret")
    assert caught.value.code is Code.STORE_MISSING
    with pytest.raises(StorageError) as caught:
        store.put_new("verdicts/x.json", b"verdict")
    assert caught.value.code is Code.STORE_KEY
    store.delete("uploads/out/secret")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_links_in_circles_end(store: FolderStore) -> None:
    for name in ("one", "two"):
        (store.root / "uploads" / name).symlink_to(store.root)
    assert [info.key for info in store.list("uploads/")] == ["uploads/r/a.json"]


def test_unfinished_files_are_never_cleaned_up_or_written_behind_a_link(store: FolderStore, tmp_path: Path) -> None:
    os.utime(tmp_path / "outside" / "secret", (time.time() - 90_000,) * 2)
    (store.root / RESERVED).rmdir()
    (store.root / RESERVED).symlink_to(tmp_path / "outside")
    open_store(store.url)
    assert (tmp_path / "outside" / "secret").exists()
    with pytest.raises(StorageError) as caught:
        FolderStore(store.root).put_new("uploads/r/c.json", b"{}")
    assert caught.value.code is Code.STORE_KEY


@pytest.mark.parametrize("name", [b"new\nline.json", b"\xff.json", b"\x1b[2J.json"])
def test_a_name_that_no_key_can_have_is_not_listed(name: bytes, store: FolderStore) -> None:
    (store.root / "uploads" / "r" / os.fsdecode(name)).write_bytes(b"{}")
    assert [info.key for info in store.list("uploads/")] == ["uploads/r/a.json"]
