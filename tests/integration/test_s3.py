"""The S3 store keeps the promises of the folder store on a real server, and says what is wrong with a bad one."""

import secrets
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.seaweed import Seaweed, seaweed
from tests.unit.storage import conformance
from volano.errors import Code, StorageError
from volano.storage import s3
from volano.storage.open import open_store
from volano.storage.store import ObjectStore

__all__ = ["seaweed"]
_BUCKET = "conformance"


@pytest.fixture(scope="module")
def bucket(seaweed: Seaweed) -> str:
    seaweed.make_bucket(_BUCKET)
    return _BUCKET


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A fresh store of each kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    server: Seaweed = request.getfixturevalue("seaweed")
    return open_store(server.url(request.getfixturevalue("bucket"), f"test/{secrets.token_hex(4)}"))


def test_first_writer_wins(store: ObjectStore, tmp_path: Path) -> None:
    conformance.check_first_writer_wins(store, tmp_path)


def test_race_has_one_winner(store: ObjectStore, tmp_path: Path) -> None:
    conformance.check_race_has_one_winner(store, tmp_path)


@pytest.mark.parametrize("size", [3 << 20, (65 << 20) + 7], ids=["one put", "parts"])
def test_files(store: ObjectStore, tmp_path: Path, size: int) -> None:
    conformance.check_files(store, tmp_path, size)


def test_race_in_parts_has_one_winner(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    sources = []
    for number in range(4):
        sources.append(tmp_path / str(number))
        sources[-1].write_bytes(bytes([number]) * (6 << 20))
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda source: store.put_new_file("parts", source), sources))
    assert won.count(True) == 1
    assert store.get("parts") == sources[won.index(True)].read_bytes()


def test_listing(store: ObjectStore) -> None:
    conformance.check_listing(store)


def test_long_listing(store: ObjectStore) -> None:
    keys = [f"long/{number:05d}" for number in range(1010)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda key: store.put_new(key, b"x"), keys))
    assert [info.key for info in store.list("long/")] == keys


def test_missing_object(store: ObjectStore, tmp_path: Path) -> None:
    conformance.check_missing_object(store, tmp_path)


def test_refused_keys(store: ObjectStore, tmp_path: Path) -> None:
    conformance.check_refused_keys(store, tmp_path)


def test_probe(store: ObjectStore) -> None:
    conformance.check_probe(store)


def test_url_opens_the_same_store(store: ObjectStore) -> None:
    conformance.check_url_opens_the_same_store(store)


def test_prefixes_keep_stores_apart(seaweed: Seaweed, bucket: str) -> None:
    one, other = (open_store(seaweed.url(bucket, name)) for name in ("apart", "apart2"))
    assert one.put_new("key", b"one")
    assert other.put_new("key", b"other")
    assert [info.key for info in one.list("")] == ["key"]
    assert one.get("key") == b"one"


def test_missing_bucket(seaweed: Seaweed, tmp_path: Path) -> None:
    conformance.check_missing_bucket(open_store(seaweed.url("absent")), tmp_path)


def test_wrong_credentials_are_named(seaweed: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError) as caught:
        open_store(seaweed.url(bucket)).put_new("key", b"x")
    assert caught.value.code is Code.STORE_UNAVAILABLE
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.fix


def test_a_server_that_is_down_is_named(seaweed: Seaweed, bucket: str) -> None:
    del seaweed
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageError) as caught:
            open_store(f"s3://{bucket}?endpoint={endpoint}").get("key")
    assert caught.value.code is Code.STORE_UNAVAILABLE


def test_folders_need_no_boto() -> None:
    script = "import sys, volano.storage.open; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
