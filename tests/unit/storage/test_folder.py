"""The folder store keeps every promise, whichever system call fails and whenever its process dies."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.storage import conformance, faults
from volano.errors import Code, StorageError
from volano.storage.content import sha256_bytes
from volano.storage.folder import FolderStore
from volano.storage.keys import RESERVED
from volano.storage.open import open_store, probe

_ROOT = Path(__file__).parents[3]
_KEY = "a/b/c"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    root = tmp_path / "store"
    root.mkdir()
    return FolderStore(root)


def test_first_writer_wins(store: FolderStore, tmp_path: Path) -> None:
    conformance.check_first_writer_wins(store, tmp_path)


def test_race_has_one_winner(store: FolderStore, tmp_path: Path) -> None:
    conformance.check_race_has_one_winner(store, tmp_path)


def test_files(store: FolderStore, tmp_path: Path) -> None:
    conformance.check_files(store, tmp_path, (3 << 20) + 5)


def test_listing(store: FolderStore) -> None:
    conformance.check_listing(store)


def test_missing_object(store: FolderStore, tmp_path: Path) -> None:
    conformance.check_missing_object(store, tmp_path)


def test_refused_keys(store: FolderStore, tmp_path: Path) -> None:
    conformance.check_refused_keys(store, tmp_path)


def test_missing_folder(store: FolderStore, tmp_path: Path) -> None:
    store.root.rmdir()
    conformance.check_missing_bucket(store, tmp_path)


def test_probe(store: FolderStore) -> None:
    conformance.check_probe(store)


def test_url_opens_the_same_store(store: FolderStore) -> None:
    conformance.check_url_opens_the_same_store(store)


def test_parts(store: FolderStore) -> None:
    conformance.check_parts(store, 3000)


def test_parts_overwrite_nothing(store: FolderStore) -> None:
    conformance.check_parts_overwrite_nothing(store, 3000)


def test_other_parts_are_thrown_away(store: FolderStore) -> None:
    conformance.check_other_parts_are_thrown_away(store, 3000)


def test_abandoned_parts_go(store: FolderStore) -> None:
    conformance.check_abandoned_parts_go(store, 3000)


def send_in_parts(store: FolderStore) -> None:
    upload, parts = store.parts.open(_KEY), [b"1" * 3000, b"2" * 3000, b"3"]
    there = store.parts.listed(_KEY, upload)
    for number, part in enumerate(parts, start=1):
        if number not in there:
            store.parts.put(_KEY, upload, number, part)
    store.parts.close(_KEY, upload, [sha256_bytes(part) for part in parts])


def test_a_failing_call_anywhere_leaves_parts_that_can_be_gone_on_with(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "calm"))
    assert isinstance(store, FolderStore)
    with faults.swept(faults.Sweep(0, faults.fail(errno.EIO))) as counting:
        send_in_parts(store)
    for position in range(1, len(counting.names) + 1):
        (root := tmp_path / str(position)).mkdir()
        with faults.swept(faults.Sweep(position, faults.fail(errno.EIO))), suppress(StorageError):
            send_in_parts(FolderStore(root))
        send_in_parts(FolderStore(root))
        assert FolderStore(root).get(_KEY) == b"1" * 3000 + b"2" * 3000 + b"3"
        assert [path.name for path in (root / RESERVED).iterdir() if path.is_dir()] == []


def test_a_planted_link_is_no_place_for_parts(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    upload = store.parts.open(_KEY)
    (store.root / RESERVED / upload).rmdir()
    (store.root / RESERVED / upload).symlink_to(tmp_path / "outside")
    for use in (lambda: store.parts.open(_KEY), lambda: store.parts.put(_KEY, upload, 1, b"x")):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_KEY
    assert list((tmp_path / "outside").iterdir()) == []
    for name in ("../outside", "x", ""):
        with pytest.raises(StorageError) as caught:
            store.parts.put(_KEY, name, 1, b"x")
        assert caught.value.code is Code.STORE_KEY


def test_open_makes_the_folder(tmp_path: Path) -> None:
    for url in (str(tmp_path / "one" / "two"), f"file://{tmp_path / 'three'}"):
        store = open_store(url)
        assert isinstance(store, FolderStore)
        assert store.root.is_dir()


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "s3://bucket?endpoint=a&endpoint=b", "s3://bucket?secret=x"])
def test_open_refuses_what_is_no_store(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(url)
    assert caught.value.code is Code.STORE_UNAVAILABLE


def test_open_removes_only_what_a_dead_writer_left(store: FolderStore) -> None:
    store.put_new(_KEY, b"content")
    old, young = store.root / RESERVED / "old", store.root / RESERVED / "young"
    for partial in (old, young):
        partial.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    open_store(store.url)
    assert not old.exists()
    assert young.exists()
    assert store.get(_KEY) == b"content"


def test_a_key_cannot_be_object_and_prefix(store: FolderStore) -> None:
    store.put_new("a/b", b"content")
    for key in ("a/b/c", "a"):
        with pytest.raises(StorageError) as caught:
            store.put_new(key, b"other")
        assert caught.value.code is Code.STORE_KEY
        assert not store.exists(key)
    with pytest.raises(StorageError) as caught:
        store.get("a")
    assert caught.value.code is Code.STORE_MISSING


class OverwritingStore(FolderStore):
    """A store that takes conditional puts and ignores the condition, as some S3 servers do."""

    def put_new(self, key: str, data: bytes) -> bool:
        self.delete(key)
        return super().put_new(key, data)


class ClaimingStore(FolderStore):
    """A store that keeps the first content and tells every writer that it won."""

    def put_new(self, key: str, data: bytes) -> bool:
        super().put_new(key, data)
        return True


class ReplacingStore(FolderStore):
    """A store that tells the second writer that it lost, and yet takes its content."""

    def put_new(self, key: str, data: bytes) -> bool:
        won = not self.exists(key)
        self.delete(key)
        super().put_new(key, data)
        return won


@pytest.mark.parametrize("kind", [OverwritingStore, ClaimingStore, ReplacingStore])
def test_probe_refuses_a_store_without_conditional_puts(kind: type[FolderStore], store: FolderStore) -> None:
    with pytest.raises(StorageError) as caught:
        probe(kind(store.root))
    assert caught.value.code is Code.STORE_CONDITIONAL
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EIO, Code.STORE_UNAVAILABLE),
        (errno.ENOSPC, Code.STORE_FULL),
        (errno.EDQUOT, Code.STORE_FULL),
    ],
)
def test_every_failing_call_is_refused_cleanly(number: int, code: Code, tmp_path: Path) -> None:
    """Fault k = 1, 2, 3, ... until none fires: a coded error or success, and nothing or the whole object."""
    refused: set[str] = set()
    for position in range(1, 100):
        root = tmp_path / str(position)
        root.mkdir()
        with faults.swept(faults.Sweep(position, faults.fail(number))) as sweep:
            answer = outcome(FolderStore(root))
        if not sweep.fired:
            break
        assert answer in {"won", code}
        if answer == code:
            refused.add(sweep.names[position - 1])
        assert_nothing_or_whole(FolderStore(root), must_be_there=answer == "won")
        there = FolderStore(root).exists(_KEY)
        assert outcome(FolderStore(root)) == ("lost" if there else "won")
        assert FolderStore(root).get(_KEY) == faults.DATA
    assert answer == "won"
    assert refused >= {"open", "write", "fsync", "link", "mkdir"}


def outcome(store: FolderStore) -> str:
    try:
        return "won" if store.put_new(_KEY, faults.DATA) else "lost"
    except StorageError as error:
        return error.code


def assert_nothing_or_whole(store: FolderStore, *, must_be_there: bool) -> None:
    listed = [info.key for info in store.list("")]
    assert listed in ([_KEY], []), listed
    if listed or must_be_there:
        assert store.get(_KEY) == faults.DATA


def test_each_step_is_on_the_disk_before_the_next(store: FolderStore) -> None:
    """A power cut cannot be had here, so the order of calls is the proof: no link before the file's fsync, no answer
    before the folder's, for the winner and for the loser, whom a crashed winner may have left without one."""
    entry = ["open", "fsync", "close"]
    content = ["open", "write", "write", "fsync", "close", "link", "unlink"]
    with faults.swept(faults.Sweep(0, faults.die)) as first:
        assert store.put_new(_KEY, faults.DATA)
    assert first.names == [*(["mkdir", *entry] * 3), *content, *entry]
    with faults.swept(faults.Sweep(0, faults.die)) as second:
        assert not store.put_new(_KEY, faults.DATA)
    assert second.names == entry
    with faults.swept(faults.Sweep(0, faults.die)) as elsewhere:
        assert not FolderStore(store.root).put_new(_KEY, faults.DATA)
    assert elsewhere.names == [*(["mkdir", *entry] * 2), *entry]


def test_a_short_write_is_continued(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:70_001]))
    assert store.put_new(_KEY, faults.DATA)
    monkeypatch.undo()
    assert store.get(_KEY) == faults.DATA


def test_a_full_disk_is_named_and_leaves_nothing(store: FolderStore) -> None:
    """The kernel itself refuses: the process may write no file above 64 KiB."""
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from volano.errors import StorageError\nfrom volano.storage.folder import FolderStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n    FolderStore(Path(sys.argv[1])).put_new('a', bytes(70000))\n"
        "except StorageError as error:\n    sys.exit(str(error.code))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store.root)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == Code.STORE_FULL
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert list(store.list("")) == []
    assert list((store.root / RESERVED).iterdir()) == []
    assert store.put_new("a", bytes(70000)), "it goes on when there is room again"


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.storage.faults", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_every_call_leaves_nothing_or_the_whole_object(when: str, tmp_path: Path) -> None:
    kills, linked = 0, 0
    running = {}
    for position in range(1, 40):
        root = tmp_path / str(position)
        root.mkdir()
        running[position] = start("kill", str(root), _KEY, str(position), when)
        if position % 4 == 0 and running[position].wait(timeout=60) == 0:
            break
    for position, process in running.items():
        killed = process.wait(timeout=60) == -signal.SIGKILL
        kills += killed
        assert killed or process.communicate()[0] == "survived\n"
        store = FolderStore(tmp_path / str(position))
        assert_nothing_or_whole(store, must_be_there=not killed)
        linked += store.exists(_KEY) and killed
        store.put_new(_KEY, faults.DATA)
        assert store.get(_KEY) == faults.DATA, "the next writer goes on"
    assert kills > 12
    assert 0 < linked < kills, "kills must fall on both sides of the commit"


def test_kill_at_random_moments_loses_nothing_acknowledged(tmp_path: Path) -> None:
    for turn in range(4):
        root = tmp_path / str(turn)
        root.mkdir()
        process = start("write", str(root))
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.03 + 0.017 * turn)
        process.kill()
        # `communicate` would not know what `readline` has read ahead
        told = first + process.stdout.read()
        process.wait()
        acknowledged = {int(line) for line in told.splitlines(keepends=True) if "\n" in line}
        store = FolderStore(root)
        there = {int(info.key.split("/")[-1]): info.key for info in store.list("")}
        assert acknowledged
        assert acknowledged <= set(there)
        assert len(there) <= len(acknowledged) + 1
        for number, key in there.items():
            assert store.get(key) == str(number).encode() * 3000


def test_two_processes_never_both_win(store: FolderStore) -> None:
    processes = {name: start("race", str(store.root), name) for name in ("left", "right")}
    wins: dict[str, set[int]] = {name: set() for name in processes}
    for turn in range(faults.RACES // faults.ROUND):
        first, second = ("left", "right") if turn % 2 else ("right", "left")
        for name in (first, second):
            stream = processes[name].stdin
            assert stream is not None
            stream.write("go\n")
            stream.flush()
        for name, process in processes.items():
            assert process.stdout is not None
            wins[name] |= set(map(int, process.stdout.readline().split()))
    for process in processes.values():
        process.communicate(timeout=60)
    assert wins["left"] & wins["right"] == set()
    assert wins["left"] | wins["right"] == set(range(faults.RACES))
    assert all(wins.values()), "one process won everything: that was no race"
    for name, won in wins.items():
        for number in won:
            assert store.get(f"race/{number}") == f"{name} {number}".encode()
