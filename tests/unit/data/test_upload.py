"""A bundle is in the store exactly once, whatever fails or dies on the way."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN
from tests.unit.data.dying_store import DyingStore
from tests.unit.data.heavy import PART, heavy
from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.data.recording import record
from tests.unit.storage.faults import Sweep, fail, swept
from volano.data import pieces
from volano.data.bundle import MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.judge import judge
from volano.data.sandbox import Limits, check_bundles
from volano.data.upload import Receipt, pending, upload
from volano.errors import Code, DataError, StorageError
from volano.storage.folder import FolderStore


class FlakyStore(MemoryStore):
    """The first `failures` puts of keys that start with `prefix` fail with a code, perhaps after they took effect."""

    def __init__(
        self, failures: int, code: Code = Code.STORE_UNAVAILABLE, *, prefix: str = "", after: bool = False
    ) -> None:
        super().__init__()
        self.failures, self.code, self.prefix, self.after = failures, code, prefix, after

    def put_new(self, key: str, data: bytes) -> bool:
        if self.failures and key.startswith(self.prefix):
            self.failures -= 1
            if self.after:
                super().put_new(key, data)
            raise StorageError(self.code, "the network said no", "wait")
        return super().put_new(key, data)


def folder_store(root: Path) -> FolderStore:
    root.mkdir()
    return FolderStore(root)


def test_an_upload_is_stored_once_and_marked(tmp_path: Path) -> None:
    store, bundle = folder_store(tmp_path / "store"), record(tmp_path / "robot")
    content = read_manifest(bundle).content_id
    key = "uploads/rover-01/attempt-0001.json"
    assert pending(tmp_path / "robot") == [bundle]
    assert upload(store, bundle) == Receipt(status="stored", key=key, content_id=content)
    assert pending(tmp_path / "robot") == []
    assert upload(store, bundle) == Receipt(status="already", key=key, content_id=content)
    assert json.loads((bundle / UPLOADED_FILE).read_bytes())["content_id"] == content


def test_ingest_accepts_an_upload(tmp_path: Path) -> None:
    store = folder_store(tmp_path / "store")
    receipt = upload(store, record(tmp_path / "robot"))
    [verdict] = judge(store, [receipt.key], KNOWN, lambda bundles: check_bundles(bundles, Limits()))
    assert (verdict.verdict, verdict.evidence) == ("accepted", "")


def test_a_kill_at_any_put_is_healed_by_sending_again(tmp_path: Path) -> None:
    bundle = record(tmp_path)
    puts = len(read_manifest(bundle).files) + 1
    key = "uploads/rover-01/attempt-0001.json"
    for lives in range(puts + 1):
        store = MemoryStore()
        store.lives = lives
        try:
            upload(store, bundle)
            assert lives == puts
        except Killed:
            assert lives < puts
            assert key not in store.objects, "the manifest comes last"
            assert pending(tmp_path) == [bundle]
        store.lives = None
        again = upload(store, bundle)
        assert again.status == ("already" if lives == puts else "stored")
        assert len(store.objects) == puts
        (bundle / UPLOADED_FILE).unlink()


def test_a_failing_call_anywhere_is_healed_by_sending_again(tmp_path: Path) -> None:
    bundle = record(tmp_path / "robot")
    store = folder_store(tmp_path / "count")
    with swept(Sweep(0, fail(5))) as counting:
        upload(store, bundle)
    for position in range(1, len(counting.names) + 1):
        store = folder_store(tmp_path / f"store-{position}")
        (bundle / UPLOADED_FILE).unlink(missing_ok=True)
        with swept(Sweep(position, fail(28))), suppress(OSError):
            upload(store, bundle, sleep=lambda _s: None)
        upload(store, bundle)
        assert pending(tmp_path / "robot") == []
        assert len(list(store.list(""))) == len(read_manifest(bundle).files) + 1


@pytest.mark.parametrize("prefix", ["blobs/", "uploads/"])
def test_an_unavailable_store_is_asked_again(tmp_path: Path, prefix: str) -> None:
    pauses: list[float] = []
    store = FlakyStore(5, prefix=prefix)
    receipt = upload(store, record(tmp_path), sleep=pauses.append, random=lambda: 1.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert receipt.status == "stored"
    assert receipt.key in store.objects


@pytest.mark.parametrize(("prefix", "status"), [("blobs/", "stored"), ("uploads/", "already")])
def test_a_lost_acknowledgement_is_not_a_conflict(tmp_path: Path, prefix: str, status: str) -> None:
    store = FlakyStore(1, prefix=prefix, after=True)
    assert upload(store, record(tmp_path), sleep=lambda _s: None).status == status


def test_pauses_grow_and_are_spread(tmp_path: Path) -> None:
    pauses: list[float] = []
    with pytest.raises(StorageError):
        upload(FlakyStore(100), record(tmp_path), sleep=pauses.append, random=lambda: 0.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert pending(tmp_path) == [tmp_path / "attempt-0001"]


def test_another_storage_error_is_not_repeated(tmp_path: Path) -> None:
    pauses: list[float] = []
    with pytest.raises(StorageError) as caught:
        upload(FlakyStore(1, Code.STORE_FULL), record(tmp_path), sleep=pauses.append)
    assert caught.value.code is Code.STORE_FULL
    assert pauses == []


@pytest.mark.parametrize("change", ["content", "claims"])
def test_one_attempt_is_one_episode(tmp_path: Path, change: str) -> None:
    store = MemoryStore()
    upload(store, record(tmp_path / "one"))
    other = record(tmp_path / "two", frames=12 if change == "claims" else 13)
    if change == "claims":
        manifest = read_manifest(other)
        assert manifest.content_id == read_manifest(tmp_path / "one" / "attempt-0001").content_id
        lying = replace(manifest, outcome=replace(manifest.outcome, success=False))
        (other / MANIFEST_FILE).write_bytes(lying.to_bytes())
    with pytest.raises(DataError) as caught:
        upload(store, other)
    assert caught.value.code is Code.DATA_ATTEMPT
    assert pending(tmp_path / "two") == [other]


def test_a_damaged_file_never_reaches_the_store(tmp_path: Path) -> None:
    store, bundle = MemoryStore(), record(tmp_path)
    for name in sorted(read_manifest(bundle).files):
        good = (bundle / name).read_bytes()
        (bundle / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DataError) as caught:
            upload(store, bundle)
        assert caught.value.code is Code.DATA_HASH
        (bundle / name).unlink()
        with pytest.raises(DataError) as caught:
            upload(store, bundle)
        assert caught.value.code is Code.DATA_MISSING_FILE
        (bundle / name).write_bytes(good)
    assert not any(key.startswith("uploads/") for key in store.objects)


def test_a_torn_bundle_is_refused(tmp_path: Path) -> None:
    bundle = record(tmp_path)
    manifest = (bundle / MANIFEST_FILE).read_bytes()
    (bundle / MANIFEST_FILE).write_bytes(manifest[:-5])
    with pytest.raises(DataError) as caught:
        upload(MemoryStore(), bundle)
    assert caught.value.code is Code.DATA_MANIFEST
    (bundle / MANIFEST_FILE).unlink()
    assert pending(tmp_path) == []
    with pytest.raises(DataError):
        upload(MemoryStore(), bundle)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", PART)


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_goes_on_at_the_part_where_it_was(tmp_path: Path) -> None:
    bundle = heavy(tmp_path)
    upload(calm := DyingStore(MemoryStore(), 0), bundle)
    assert calm.parts.sent == 4 + 2
    for last in range(1, calm.done + 1):
        (bundle / UPLOADED_FILE).unlink(missing_ok=True)
        store = MemoryStore()
        first, second = DyingStore(store, last), DyingStore(store, 0)
        with pytest.raises(Killed):
            upload(first, bundle)
        assert pending(tmp_path) == [bundle]
        upload(second, bundle)
        assert first.parts.sent + second.parts.sent == calm.parts.sent, "a part was sent twice"
        assert store.objects.keys() == {info.key for info in calm.list("")}
        assert store.parts.unfinished == {}


@pytest.mark.usefixtures("small_parts")
def test_parts_that_somebody_spoiled_are_sent_again(tmp_path: Path) -> None:
    """Of the right size, so that a server which tells no checksums lists them as if they were right."""
    store, bundle = folder_store(tmp_path / "store"), heavy(tmp_path / "robot")
    entry = read_manifest(bundle).files["camera.ego.mp4"]
    key = f"blobs/{entry.sha256}"
    store.parts.put(key, store.parts.open(key), 2, b"?" * PART)
    store.parts.put(key, store.parts.open(key), 9, b"?" * PART)
    upload(store, bundle, sleep=lambda _s: None)
    assert store.get(key) == (bundle / "camera.ego.mp4").read_bytes()


def test_pending_without_a_folder_is_nothing(tmp_path: Path) -> None:
    assert pending(tmp_path / "none") == []
