"""The S3 store keeps the promises of the folder store on a real server, and says what is wrong with a bad one."""

import contextlib
import re
import secrets
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.seaweed import Seaweed, seaweed
from tests.unit.data.committers import check_concurrent_committers
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
def test_files(store: ObjectStore, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_WHOLE_BYTES", 64 << 20)
    conformance.check_files(store, tmp_path, size)


def test_race_in_parts_leaves_a_winners_whole_file(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of writers that end at the same moment several may be told that they won; what stays is one winner's file."""
    monkeypatch.setattr(s3, "_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    sources = []
    for number in range(4):
        sources.append(tmp_path / str(number))
        sources[-1].write_bytes(bytes([number]) * (6 << 20))
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda source: store.put_new_file("parts", source), sources))
    stored = store.get("parts")
    assert stored in [source.read_bytes() for source, winner in zip(sources, won, strict=True) if winner]
    assert not store.put_new_file("parts", sources[(stored[0] + 1) % 4]), "a late writer never wins"
    assert store.get("parts") == stored


def test_sixteen_committers_at_once_lose_nothing_and_readers_see_whole_versions(
    seaweed: Seaweed, bucket: str, tmp_path: Path
) -> None:
    store = open_store(seaweed.url(bucket, f"committers-{secrets.token_hex(4)}"))
    check_concurrent_committers(lambda: store, tmp_path)


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


class BadNetwork:
    """A TCP relay to the server that breaks `faults` answers to requests whose first line matches `mark`, after the
    server has acted: of each only `keep_bytes` arrive."""

    def __init__(self, endpoint: str, mark: bytes, faults: int, keep_bytes: int) -> None:
        self._target = ("127.0.0.1", int(endpoint.rsplit(":", 1)[1]))
        self._mark, self.keep_bytes = mark, keep_bytes
        self.left = faults
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """One connection; requests on it follow each other, so the last one seen owns the answer."""
        request = b""
        with client, socket.create_connection(self._target) as server, contextlib.suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is client:
                        if b" HTTP/1.1\r\n" in data:
                            request = data.split(b"\r\n", 1)[0]
                        server.sendall(data)
                    elif re.match(self._mark, request) and self.left > 0 and not data.startswith(b"HTTP/1.1 100"):
                        self.left -= 1
                        client.sendall(data[: self.keep_bytes])
                        return
                    else:
                        client.sendall(data)


@pytest.fixture
def relay(seaweed: Seaweed, bucket: str) -> Iterator[Callable[[bytes, int, int], tuple[BadNetwork, ObjectStore]]]:
    """A store behind a bad network."""
    made: list[BadNetwork] = []

    def make(mark: bytes, faults: int, keep_bytes: int) -> tuple[BadNetwork, ObjectStore]:
        made.append(BadNetwork(seaweed.endpoint, mark, faults, keep_bytes))
        return made[-1], open_store(f"s3://{bucket}/{secrets.token_hex(4)}?endpoint={made[-1].endpoint}")

    yield make
    for network in made:
        network.close()


Relay = Callable[[bytes, int, int], tuple[BadNetwork, ObjectStore]]


def test_a_put_whose_answer_was_lost_still_knows_that_it_won(relay: Relay, tmp_path: Path) -> None:
    network, store = relay(b"PUT ", 1, 0)
    assert store.put_new("key", b"first")
    assert network.left == 0, "no answer was lost"
    assert not store.put_new("key", b"second")
    assert store.get("key") == b"first"
    network.left = 2
    source = tmp_path / "source"
    source.write_bytes(b"file")
    assert store.put_new_file("file", source)
    assert network.left == 0


def test_parts_whose_completion_was_lost_still_win(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    network, store = relay(rb"POST \S*uploadId=", 0, 0)
    source = tmp_path / "source"
    source.write_bytes(bytes(6 << 20))
    network.left = 1
    assert store.put_new_file("parts", source)
    assert network.left == 0
    assert store.get("parts") == bytes(6 << 20)


def test_a_loser_whose_answer_was_lost_still_knows_that_it_lost(relay: Relay) -> None:
    network, store = relay(b"PUT ", 0, 0)
    assert store.put_new("key", b"first")
    network.left = 1
    assert not store.put_new("key", b"second")
    assert network.left == 0
    assert store.get("key") == b"first"


def test_a_download_cut_short_is_read_again(relay: Relay, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    network, store = relay(b"GET ", 0, 0)
    store.put_new("key", content)
    for keep_bytes in (0, 10, 600, 40_000):
        network.left, network.keep_bytes = 1, keep_bytes
        assert store.get("key") == content
        assert network.left == 0
    network.left, network.keep_bytes = 2, 40_000
    store.get_file("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content


def test_a_network_that_stays_bad_is_named(relay: Relay, tmp_path: Path) -> None:
    network, store = relay(b"GET ", 0, 600)
    store.put_new("key", bytes(500_000))
    network.left = 1000
    for read in (lambda: store.get("key"), lambda: store.get_file("key", tmp_path / "target")):
        with pytest.raises(StorageError) as caught:
            read()
        assert caught.value.code is Code.STORE_UNAVAILABLE
    assert list(tmp_path.iterdir()) == []


def test_folders_need_no_boto() -> None:
    script = "import sys, volano.storage.open; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
