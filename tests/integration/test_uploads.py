"""From a robot's disk through the platform's door into a store, over real HTTP: exactly once, by whom it says."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.ports import listening_socket
from tests.integration.doors import KEY, DyingPlatform, OpenDoor, check_bundle_in, errands, open_door
from tests.integration.seaweed import free_ports
from tests.unit.commands.test_upload import volano
from tests.unit.data.heavy import PART, heavy
from tests.unit.data.memory_store import Killed
from volano.commands.application import ROOT, environment
from volano.data import pieces
from volano.data.bundle import UPLOADED_FILE, read_manifest
from volano.data.door import Errand, Platform
from volano.data.intake import Allowance
from volano.data.receipt import verify_receipt
from volano.data.send import question_of, send
from volano.data.upload import pending
from volano.errors import Code, DataError, ServeError, StorageError, VolanoError
from volano.storage.folder import FolderStore

TRUSTED = [KEY.public_key()]
_READY_S = 180.0


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_BYTES", PART)
        yield


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    (tmp_path / "store").mkdir()
    with open_door(FolderStore(tmp_path / "store"), tmp_path) as opened:
        yield opened


def test_a_robot_killed_at_any_request_loses_and_repeats_nothing(door: OpenDoor, tmp_path: Path) -> None:
    calm = DyingPlatform(door, 0, after=False)
    send(calm, heavy(tmp_path / "calm", "calm", seed=99), TRUSTED)
    assert calm.done == 2 + 7
    for last in range(1, calm.done + 1):
        for after in (False, True):
            bundle = heavy(tmp_path / "disk", f"attempt-{last}-{after}", seed=2 * last + after)
            first = DyingPlatform(door, last, after=after)
            with pytest.raises(Killed):
                send(first, bundle, TRUSTED)
            assert pending(tmp_path / "disk") == [bundle]
            second = DyingPlatform(door, 0, after=False)
            receipt = send(second, bundle, TRUSTED)
            assert receipt == verify_receipt((bundle / UPLOADED_FILE).read_bytes(), read_manifest(bundle), TRUSTED)
            assert sorted(first.put_pieces + second.put_pieces) == sorted(calm.put_pieces), "a piece was put twice"
            check_bundle_in(door.store, bundle)
    assert len(list(door.store.list("uploads/"))) == 1 + 2 * calm.done


def test_sending_again_is_one_question(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path)
    send(door.platform(), bundle, TRUSTED)
    again = DyingPlatform(door, 0, after=False)
    send(again, bundle, TRUSTED)
    assert again.done == 1


def test_the_same_content_under_two_names_shares_its_blobs(door: OpenDoor, tmp_path: Path) -> None:
    for attempt in ("attempt-0001", "attempt-0002"):
        send(door.platform(), bundle := heavy(tmp_path, attempt), TRUSTED)
        check_bundle_in(door.store, bundle)
    assert len(list(door.store.list("blobs/"))) == 3


def test_the_same_name_with_new_content_is_refused(door: OpenDoor, tmp_path: Path) -> None:
    send(door.platform(), heavy(tmp_path / "one"), TRUSTED)
    before = [info.key for info in door.store.list("")]
    assert refused(door.platform(), heavy(tmp_path / "two", seed=1)) is Code.DATA_ATTEMPT
    assert pending(tmp_path / "two") == [tmp_path / "two" / "attempt-0001"]
    assert [info.key for info in door.store.list("")] == before


def refused(platform: Platform, bundle: Path) -> Code:
    with pytest.raises(VolanoError) as caught:
        send(platform, bundle, TRUSTED, sleep=lambda _s: None)
    assert not (bundle / UPLOADED_FILE).exists()
    return caught.value.code


def test_a_robot_sends_only_under_its_own_name(door: OpenDoor, tmp_path: Path) -> None:
    assert refused(door.platform("rover-02"), heavy(tmp_path)) is Code.DATA_ROBOT
    assert list(door.store.list("")) == []


@pytest.mark.parametrize("key", ["", "wrong", "x" * 1000])
def test_nobody_without_a_key_is_answered(door: OpenDoor, tmp_path: Path, key: str) -> None:
    assert refused(Platform(door.url, key), heavy(tmp_path)) is Code.WIRE_AUTH


def test_a_revoked_robot_is_refused(door: OpenDoor, tmp_path: Path) -> None:
    door.ledger.revoke_robot("rover-01", "test", 2.0)
    assert refused(door.platform(), heavy(tmp_path)) is Code.WIRE_AUTH


def test_limits_hold_before_anything_is_signed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    allowance = Allowance(episode_bytes=10_000, day_bytes=14_000)
    with open_door(FolderStore(tmp_path / "store"), tmp_path, allowance) as door:
        large = heavy(tmp_path, "large", sizes={"steps.parquet": 10_001})
        assert refused(door.platform(), large) is Code.DATA_SIZE
        for number in range(2):
            send(door.platform(), heavy(tmp_path, f"fits-{number}", seed=number), TRUSTED)
        assert refused(door.platform(), heavy(tmp_path, "more", seed=3)) is Code.DATA_QUOTA
        with pytest.raises(DataError):
            door.platform().ask(question_of(tmp_path / "more", read_manifest(tmp_path / "more")))
        send(door.platform("rover-02"), heavy(tmp_path, "other", robot="rover-02", seed=4), TRUSTED)


def test_a_receipt_of_another_platform_or_robot_frees_nothing(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path)
    stranger = [Ed25519PrivateKey.generate().public_key()]
    with pytest.raises(DataError) as caught:
        send(door.platform(), bundle, stranger)
    assert caught.value.code is Code.DATA_RECEIPT
    assert pending(tmp_path) == [bundle]
    other = heavy(tmp_path / "other", robot="rover-02", seed=5)
    replayed = door.platform("rover-02").ask(question_of(other, read_manifest(other)))
    assert isinstance(replayed, list)
    send(door.platform("rover-02"), other, TRUSTED)

    class Replaying(Platform):
        def ask(self, question: bytes) -> bytes | list[Errand]:
            del question
            return (other / UPLOADED_FILE).read_bytes()

    assert refused(Replaying(door.url, ""), bundle) is Code.DATA_RECEIPT


def http_request(door: OpenDoor, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content.startswith(b"{") else content


def taken(door: OpenDoor, errand: Errand, data: bytes) -> bool:
    try:
        return door.platform().put(errand, data)
    except StorageError:
        return False


def test_an_address_takes_its_own_bytes_for_its_time_and_nothing_else(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path)
    for errand in errands(door, bundle):
        own = pieces.read_piece(bundle, errand.name, errand.start, errand.size)
        path = urlsplit(errand.url).path
        token = path.removeprefix("/pieces/")
        for data in (own[:-1], own + b"x", own[:-1] + bytes([own[-1] ^ 1])):
            assert not taken(door, errand, data)
        for other in (token[:-1] + ("0" if token[-1] != "0" else "1"), token[4:], token.replace(".", ".."), "x", "."):
            status, said = http_request(door, "PUT", f"/pieces/{other}", own, {})
            assert (status, said["code"]) == (401, "E-WIRE-002")
        door.now[:] = [4e9]
        status, said = http_request(door, "PUT", path, own, {})
        assert (status, "too old" in said["cause"]) == (401, True)
        door.now.clear()
    assert list(door.store.list("")) == []
    assert send(door.platform(), bundle, TRUSTED)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/uploads", 405),
        ("PUT", "/pieces/../uploads", 404),
        ("PUT", "/pieces/a%2F..%2Fb", 404),
        ("DELETE", "/pieces/x", 405),
        ("GET", "/healthz", 200),
    ],
)
def test_there_is_no_other_way_in(door: OpenDoor, method: str, path: str, status: int) -> None:
    assert http_request(door, method, path, b"", {})[0] == status


def test_a_question_is_bounded_before_it_is_read(door: OpenDoor) -> None:
    headers = {"Authorization": "Api-Key key-of-rover-01"}
    status, said = http_request(door, "POST", "/uploads", bytes(2 << 20), headers)
    assert (status, said["code"]) == (400, "E-WIRE-001")
    status, said = http_request(door, "POST", "/uploads", b"{}", {**headers, "Content-Length": "999999999999999"})
    assert (status, said["code"]) == (400, "E-WIRE-001")
    status, said = http_request(door, "POST", "/uploads", b"[" * 100_000, headers)
    assert (status, said["code"]) == (400, "E-WIRE-001")


def test_a_platform_that_asks_for_other_files_gets_nothing(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")

    class Curious(Platform):
        def ask(self, question: bytes) -> bytes | list[Errand]:
            del question
            return [Errand(name="../secret", start=0, size=6, url=f"{door.url}/pieces/x", headers={})]

    assert refused(Curious(door.url, ""), bundle) is Code.WIRE_FRAME


def test_a_store_that_fails_is_told_without_its_place_and_asked_again(door: OpenDoor, tmp_path: Path) -> None:
    bundle, pauses = heavy(tmp_path), []
    store = door.store
    assert isinstance(store, FolderStore)
    store.root.rename(tmp_path / "away")

    def sleep(length: float) -> None:
        pauses.append(length)
        if len(pauses) == 2:
            (tmp_path / "away").rename(store.root)

    send(door.platform(), bundle, TRUSTED, sleep=sleep)
    check_bundle_in(door.store, bundle)
    store.root.rename(tmp_path / "away")
    with pytest.raises(StorageError) as caught:
        send(door.platform(), heavy(tmp_path, "second", seed=2), TRUSTED, sleep=lambda _s: None)
    assert caught.value.code is Code.STORE_UNAVAILABLE
    assert str(tmp_path) not in caught.value.cause


def test_a_robots_questions_are_answered_one_at_a_time(tmp_path: Path) -> None:
    """A large file is read back for a while: who asks again meanwhile must not have it read twice."""
    (tmp_path / "store").mkdir()
    slow = SlowStore(tmp_path / "store")
    with open_door(slow, tmp_path) as door:
        one, other = heavy(tmp_path, "one"), heavy(tmp_path, "other", robot="rover-02", seed=1)
        waiting = threading.Thread(target=lambda: door.platform().ask(question_of(one, read_manifest(one))))
        waiting.start()
        assert slow.entered.wait(20)
        with pytest.raises(StorageError, match="another question"):
            door.platform().ask(question_of(one, read_manifest(one)))
        send(door.platform("rover-02"), other, TRUSTED)
        slow.go_on.set()
        waiting.join()
        send(door.platform(), one, TRUSTED)


class SlowStore(FolderStore):
    """Hangs when the first robot's upload is looked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def get(self, key: str) -> bytes:
        if key == "uploads/rover-01/one.json":
            self.entered.set()
            assert self.go_on.wait(20)
        return super().get(key)


def test_a_port_that_is_taken_is_an_error_with_a_code(door: OpenDoor) -> None:
    with pytest.raises(ServeError, match="cannot listen"):
        listening_socket("127.0.0.1", urlsplit(door.url).port or 0)


def test_a_door_that_is_closed_is_named(tmp_path: Path) -> None:
    assert refused(Platform("http://127.0.0.1:1", "key"), heavy(tmp_path)) is Code.STORE_UNAVAILABLE


def test_the_commands_lead_from_a_new_robot_to_a_freed_disk(tmp_path: Path) -> None:
    """The door as the process that people start; killed in between, it goes on with what is there."""
    home, disk, key = tmp_path / "home", tmp_path / "disk", tmp_path / "rover-01.key"
    [port] = free_ports(1)
    ledger, url = f"sqlite:///{home / 'ledger.db'}", f"http://127.0.0.1:{port}"
    home.mkdir()
    volano("robot", "enroll", "rover-01", "scout", "--key", str(key), "--by", "ada", "--ledger", ledger)
    upload = ("data", "upload", str(disk), "--to", url, "--key", str(key), "--trust", f"{home}/keys/receipt.pub")
    heavy(disk, "one", sizes={"steps.parquet": 300}, seed=1)
    with door_process(home, port):
        assert "one: sent  uploads/rover-01/one.json, receipt of key" in volano(*upload)
    heavy(disk, "two", sizes={"steps.parquet": 300}, seed=2)
    (disk / "one" / UPLOADED_FILE).write_bytes(b"{}")
    with door_process(home, port):
        said = volano(*upload, "--remove", status=1)
    assert "two: sent" in said
    assert "one: E-DATA-095" in said
    assert "two: removed" in said
    assert [path.name for path in disk.iterdir()] == ["one"]
    counts = json.loads(volano("data", "counts", "--store", str(home / "store"), "--json"))
    assert (counts["uploaded"], counts["in_flight"]) == (2, 2)


@contextmanager
def door_process(home: Path, port: int) -> Iterator[None]:
    """`volano serve uploads`' process until the block ends, killed then."""
    command = [sys.executable, "-m", "serving.uploads", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    until = time.monotonic() + _READY_S
    try:
        while not _answers(port):
            assert process.poll() is None, "the door ended"
            assert time.monotonic() < until, "the door does not open"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait(timeout=60)


def _answers(port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        probe = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        probe.request("GET", "/healthz")
        return probe.getresponse().status == 200
    return False
