"""What every object store promises, as checks that run unchanged on each implementation."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from volano.errors import Code, StorageError
from volano.storage.content import sha256_bytes, sha256_file
from volano.storage.open import open_store, probe
from volano.storage.parts import ABANDONED_S, PartStore
from volano.storage.store import ObjectInfo, ObjectStore

_WRITERS = 8


def check_first_writer_wins(store: ObjectStore, tmp_path: Path) -> None:
    assert not store.exists("a/one")
    assert store.put_new("a/one", b"first")
    assert not store.put_new("a/one", b"second")
    other = tmp_path / "other"
    other.write_bytes(b"third")
    assert not store.put_new_file("a/one", other)
    assert store.get("a/one") == b"first"
    assert store.exists("a/one")
    store.delete("a/one")
    store.delete("a/one")
    assert not store.exists("a/one")
    assert store.put_new("a/one", b"again"), "a removed key is free"
    assert store.put_new("a/empty", b"")
    assert store.get("a/empty") == b""
    assert [store.size(key) for key in ("a/one", "a/empty", "a", "a/one/more", "a/on")] == [5, 0, None, None, None]


def check_race_has_one_winner(store: ObjectStore, tmp_path: Path) -> None:
    for turn in range(4):
        barrier = Barrier(_WRITERS)

        def write(number: int, turn: int = turn, barrier: Barrier = barrier) -> bool:
            data = f"writer {number}".encode() * 1000
            source = tmp_path / f"{turn}-{number}"
            source.write_bytes(data)
            barrier.wait()
            key = f"race/{turn}"
            return store.put_new(key, data) if number % 2 else store.put_new_file(key, source)

        with ThreadPoolExecutor(_WRITERS) as pool:
            won = list(pool.map(write, range(_WRITERS)))
        assert won.count(True) == 1
        assert store.get(f"race/{turn}") == f"writer {won.index(True)}".encode() * 1000


def check_files(store: ObjectStore, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    with source.open("wb") as stream:
        for block in range(-(-size // (1 << 20))):
            stream.write(sha256_bytes(str(block).encode()).encode() * (1 << 14))
        stream.truncate(size)
    assert store.put_new_file("big", source)
    assert not store.put_new_file("big", source)
    target = tmp_path / "target"
    target.write_bytes(b"old")
    store.get_file("big", target)
    assert sha256_file(target) == sha256_file(source)
    assert [entry.name for entry in tmp_path.iterdir() if "target" in entry.name] == ["target"]
    assert list(store.list("big")) == [ObjectInfo(key="big", size=size)]
    with pytest.raises(StorageError) as caught:
        store.get_file("big", tmp_path / "no folder" / "target")
    assert caught.value.code is Code.STORE_UNAVAILABLE


def check_listing(store: ObjectStore) -> None:
    keys = ["list/a-b", "list/a.b", "list/a/b", "list/a/c/d", "list/a0", "list/z", "list/é", "listing"]
    for key in reversed(keys):
        store.put_new(key, key.encode())
    assert [info.key for info in store.list("list/")] == keys[:-1]
    assert [info.key for info in store.list("list")] == keys
    assert [info.key for info in store.list("list/a")] == keys[:5]
    assert [info.key for info in store.list("list/a/")] == keys[2:4]
    assert [info.key for info in store.list("list/a/c/d")] == ["list/a/c/d"]
    assert {info.key: info.size for info in store.list("list/")} == {key: len(key.encode()) for key in keys[:-1]}
    assert list(store.list("nothing/")) == []
    assert list(store.list("list/z/")) == []
    assert set(keys) <= {info.key for info in store.list("")}


def check_missing_object(store: ObjectStore, tmp_path: Path) -> None:
    for read in (lambda: store.get("absent/key"), lambda: store.get_file("absent/key", tmp_path / "target")):
        with pytest.raises(StorageError) as caught:
            read()
        assert caught.value.code is Code.STORE_MISSING
    assert not (tmp_path / "target").exists()


def check_refused_keys(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("", "/a", "a/", "a//b", "../a", "a/./b", "a/..", "a\n", "\x00", ".partial/x", "a" * 1100):
        for use in operations(store, key, tmp_path)[:-1]:
            with pytest.raises(StorageError) as caught:
                use()
            assert caught.value.code is Code.STORE_KEY
    for prefix in ("../", "a/../b", "/", "a//", "\n", ".partial/"):
        with pytest.raises(StorageError) as caught:
            list(store.list(prefix))
        assert caught.value.code is Code.STORE_KEY


def check_missing_bucket(store: ObjectStore, tmp_path: Path) -> None:
    for use in operations(store, "some/key", tmp_path):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_BUCKET, caught.value
    with pytest.raises(StorageError) as caught:
        probe(store)
    assert caught.value.code is Code.STORE_BUCKET


def check_probe(store: ObjectStore) -> None:
    probe(store)
    assert list(store.list("probe/")) == []


def check_url_opens_the_same_store(store: ObjectStore) -> None:
    store.put_new("url/key", b"content")
    again = open_store(store.url)
    assert again.get("url/key") == b"content"
    assert again.url == store.url


def check_parts(store: PartStore, part_bytes: int) -> None:
    """Parts in any order, some of them twice, become one object, once; `part_bytes` is a size that the store takes."""
    parts = [bytes([number]) * part_bytes for number in (1, 2)] + [b"the rest"]
    hashes = [sha256_bytes(part) for part in parts]
    upload = store.parts.open("parts/key")
    assert store.parts.listed("parts/key", upload) == {}
    for number in (3, 1):
        store.parts.put("parts/key", upload, number, parts[number - 1])
    assert store.parts.open("parts/key") == upload, "what is unfinished is found again"
    assert store.parts.open("parts/key2") != upload
    there = store.parts.listed("parts/key", upload)
    assert {number: part.size for number, part in there.items()} == {1: part_bytes, 3: 8}
    assert all(part.sha256 in {"", hashes[number - 1]} for number, part in there.items())
    for _ in range(2):
        store.parts.put("parts/key", upload, 2, parts[1])
    assert not store.exists("parts/key")
    assert store.size("parts/key") is None
    assert list(store.list("")) == [], "parts are no objects"
    store.parts.close("parts/key", upload, hashes)
    assert store.get("parts/key") == b"".join(parts)
    assert store.size("parts/key") == 2 * part_bytes + 8
    store.parts.close("parts/key", upload, hashes)
    with pytest.raises(StorageError) as caught:
        store.parts.listed("parts/key", upload)
    assert caught.value.code is Code.STORE_MISSING
    assert not store.put_new("parts/key", b"other")


def check_parts_overwrite_nothing(store: PartStore, part_bytes: int) -> None:
    first, second = b"1" * part_bytes, b"2" * part_bytes
    upload = store.parts.open("parts/key")
    store.parts.put("parts/key", upload, 1, second)
    assert store.put_new("parts/key", first)
    store.parts.close("parts/key", upload, [sha256_bytes(second)])
    assert store.get("parts/key") == first
    again = store.parts.open("parts/key")
    assert store.parts.listed("parts/key", again) == {}, "what lost is gone"


def check_other_parts_are_thrown_away(store: PartStore, part_bytes: int) -> None:
    """Others than announced, too few, too many."""
    one, two = b"1" * part_bytes, b"2" * part_bytes
    for sent, announced in (([one], [two]), ([one], [one, two]), ([one, two], [one])):
        upload = store.parts.open("parts/key")
        assert store.parts.listed("parts/key", upload) == {}
        for number, part in enumerate(sent, start=1):
            store.parts.put("parts/key", upload, number, part)
        with pytest.raises(StorageError) as caught:
            store.parts.close("parts/key", upload, [sha256_bytes(part) for part in announced])
        assert caught.value.code is Code.STORE_PARTS
        assert not store.exists("parts/key")


def check_abandoned_parts_go(store: PartStore, part_bytes: int) -> None:
    for key in ("parts/one", "parts/two"):
        store.parts.put(key, store.parts.open(key), 1, bytes(part_bytes))
    upload, now = store.parts.open("parts/one"), time.time()
    assert store.parts.remove_abandoned(now + ABANDONED_S - 60) == 0
    assert set(store.parts.listed("parts/one", upload)) == {1}
    assert store.parts.remove_abandoned(now + ABANDONED_S + 60) == 2
    assert store.parts.listed("parts/one", store.parts.open("parts/one")) == {}


def operations(store: ObjectStore, key: str, tmp_path: Path) -> list[Callable[[], object]]:
    """Every operation on a key, the listing last."""
    source = tmp_path / "operations"
    source.write_bytes(b"content")
    return [
        lambda: store.put_new(key, b"content"),
        lambda: store.put_new_file(key, source),
        lambda: store.get(key),
        lambda: store.get_file(key, tmp_path / "operations-target"),
        lambda: store.exists(key),
        lambda: store.size(key),
        lambda: store.delete(key),
        lambda: list(store.list(key)),
    ]
