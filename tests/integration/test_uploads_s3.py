"""The road from a robot's disk into a real S3 server: parts with checksums, gone on with, and presigned addresses."""

import http.client
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.doors import KEY, DyingPlatform, OpenDoor, check_bundle_in, errands, open_door
from tests.integration.seaweed import Seaweed, seaweed
from tests.sweeps.bad_s3 import BadS3
from tests.unit.data.dying_store import DyingStore
from tests.unit.data.heavy import heavy
from tests.unit.data.memory_store import Killed
from tests.unit.storage import conformance
from volano.data import pieces
from volano.data.bundle import UPLOADED_FILE, read_manifest
from volano.data.door import Errand, Platform
from volano.data.send import send
from volano.data.upload import upload
from volano.errors import StorageError, VolanoError
from volano.storage import s3, s3_parts
from volano.storage.content import sha256_bytes
from volano.storage.open import open_store
from volano.storage.parts import PartStore, Slot

__all__ = ["seaweed"]
_BUCKET = "uploads"
PART = 5 << 20
"""The smallest that S3 takes."""
SIZES = {"steps.parquet": 3000, "camera.ego.mp4": PART + 10}
TRUSTED = [KEY.public_key()]


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_BYTES", PART)
        yield


@pytest.fixture(scope="module")
def bucket(seaweed: Seaweed) -> str:
    seaweed.make_bucket(_BUCKET)
    return _BUCKET


@pytest.fixture
def fresh(seaweed: Seaweed, bucket: str) -> Callable[[], PartStore]:
    """Opens a store with nothing in it."""
    return lambda: open_store(seaweed.url(bucket, f"test/{secrets.token_hex(4)}"))


@pytest.fixture
def door(fresh: Callable[[], PartStore], tmp_path: Path) -> Iterator[OpenDoor]:
    with open_door(fresh(), tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "check",
    [
        conformance.check_parts,
        conformance.check_parts_overwrite_nothing,
        conformance.check_other_parts_are_thrown_away,
        conformance.check_abandoned_parts_go,
    ],
)
def test_parts(fresh: Callable[[], PartStore], check: Callable[[PartStore, int], None]) -> None:
    check(fresh(), PART)


def test_a_direct_upload_goes_on_at_the_part_where_it_was(fresh: Callable[[], PartStore], tmp_path: Path) -> None:
    bundle = heavy(tmp_path, sizes=SIZES)
    calm = DyingStore(fresh(), 0)
    upload(calm, bundle)
    assert calm.parts.sent == 2
    for last in range(4, 8):  # after the list of parts, each part, and what makes the object of them
        (bundle / UPLOADED_FILE).unlink(missing_ok=True)
        store = fresh()
        first, second = DyingStore(store, last), DyingStore(store, 0)
        with pytest.raises(Killed):
            upload(first, bundle)
        upload(second, bundle)
        assert first.parts.sent + second.parts.sent == 2, "a part was sent twice"
        check_bundle_in(store, bundle)


def test_a_fault_at_any_request_of_parts_changes_nothing(
    seaweed: Seaweed, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_BACKOFF_S", 0.0)
    monkeypatch.setattr(s3_parts, "_BACKOFF_S", 0.0)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_a: 0.0)
    bundle = heavy(tmp_path, sizes=SIZES)
    network = BadS3(seaweed.endpoint, 1.0)

    def carry(position: int, fault: str) -> list[str]:
        """Send into a fresh store, with one request spoiled; which requests there were."""
        url = f"s3://{bucket}/{secrets.token_hex(6)}?endpoint={network.endpoint}"
        network.spoil(position, fault)
        for _ in range(4):
            with suppress(VolanoError):
                upload(open_store(url), bundle, sleep=lambda _s: None)
                break
        requests = list(network.requests)
        network.spoil(0, "")
        check_bundle_in(open_store(url), bundle)
        return requests

    try:
        calm = carry(0, "")
        assert {"HEAD", "GET", "POST", "PUT"} == {request.split()[0] for request in calm}
        for position in range(1, len(calm) + 1):
            carry(position, "done and reset")
        first_part = [request.split()[0] for request in calm].index("PUT") + 1
        carry(first_part, "body altered on the way there")
    finally:
        network.close()


def test_a_robot_without_credentials_goes_on_where_it_was_killed(door: OpenDoor, tmp_path: Path) -> None:
    calm = DyingPlatform(door, 0, after=False)
    send(calm, heavy(tmp_path / "calm", "calm", sizes=SIZES, seed=99), TRUSTED)
    assert calm.done == 2 + 3
    for last in range(1, calm.done + 1):
        bundle = heavy(tmp_path / "disk", f"attempt-{last}", sizes=SIZES, seed=last)
        first = DyingPlatform(door, last, after=True)
        with pytest.raises(Killed):
            send(first, bundle, TRUSTED)
        second = DyingPlatform(door, 0, after=False)
        send(second, bundle, TRUSTED)
        assert sorted(first.put_pieces + second.put_pieces) == sorted(calm.put_pieces), "a piece was put twice"
        check_bundle_in(door.store, bundle)


def test_robots_may_reach_the_store_under_another_name(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    network, prefix = BadS3(seaweed.endpoint, 1.0), secrets.token_hex(4)
    try:
        reached = open_store(f"s3://{bucket}/{prefix}?endpoint={network.endpoint}")
        with open_door(open_store(seaweed.url(bucket, prefix)), tmp_path, reached=reached) as door:
            send(door.platform(), bundle := heavy(tmp_path, sizes=SIZES), TRUSTED)
            check_bundle_in(door.store, bundle)
        assert [request.split()[0] for request in network.requests] == ["PUT"] * 3, "robots put, and do nothing else"
    finally:
        network.close()


def test_a_presigned_address_takes_its_own_bytes_and_nothing_else(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path, sizes=SIZES)
    platform = door.platform()
    for errand in errands(door, bundle):
        own = pieces.read_piece(bundle, errand.name, errand.start, errand.size)
        assert not platform.put(errand, own[:-1]), "another size"
        assert not platform.put(errand, own + b"x"), "another size"
        assert not platform.put(errand, own[:-1] + bytes([own[-1] ^ 1])), "other bytes"
        for header in errand.headers:
            fewer = {name: value for name, value in errand.headers.items() if name != header}
            assert not platform.put(replace(errand, headers=fewer), own), f"without {header}"
        parts = urlsplit(errand.url)
        path = parts.path.replace(_BUCKET, f"{_BUCKET}/..") if "incoming" in parts.path else parts.path[:-1] + "0"
        for other in (parts.path.replace("rover-01", "rover-02"), path, parts.path + "x", parts.path + "/../x"):
            if other != parts.path:
                assert not platform.put(replace(errand, url=parts._replace(path=other).geturl()), own), other
        for change in (("partNumber=1", "partNumber=2"), ("X-Amz-Expires=900", "X-Amz-Expires=9000")):
            url = errand.url.replace(*change)
            assert url == errand.url or not platform.put(replace(errand, url=url), own), change
        for method in ("GET", "DELETE"):
            connection = http.client.HTTPConnection(parts.netloc, timeout=20)
            connection.request(method, f"{parts.path}?{parts.query}", headers=dict(errand.headers))
            assert connection.getresponse().status == 403, method
            connection.close()
    assert list(door.store.list("")) == []
    send(platform, bundle, TRUSTED)
    check_bundle_in(door.store, bundle)


def test_a_presigned_address_ends_and_overwrites_nothing(fresh: Callable[[], PartStore]) -> None:
    store, platform = fresh(), Platform("http://127.0.0.1:1", "")
    for slot in (
        Slot(key="blobs/x", upload="", number=0, size=4, sha256=sha256_bytes(b"data")),
        Slot(key="blobs/x", upload=store.parts.open("blobs/x"), number=1, size=4, sha256=sha256_bytes(b"data")),
    ):
        address = store.parts.address(slot, 1)
        assert address is not None
        errand = Errand(name="x", start=0, size=4, url=address.url, headers=address.headers)
        time.sleep(2.1)
        assert not platform.put(errand, b"data")
    address = store.parts.address(Slot(key="blobs/x", upload="", number=0, size=4, sha256=sha256_bytes(b"data")), 60)
    assert address is not None
    assert store.put_new("blobs/x", b"first")
    assert platform.put(Errand(name="x", start=0, size=4, url=address.url, headers=address.headers), b"data")
    assert store.get("blobs/x") == b"first", "it is there: nothing is overwritten, and the robot need not care"


def test_a_store_that_denies_is_not_a_store_that_takes(door: OpenDoor, tmp_path: Path) -> None:
    bundle = heavy(tmp_path, sizes={"steps.parquet": 100})

    class Tampering(DyingPlatform):
        def ask(self, question: bytes) -> object:  # type: ignore[override]
            answer = super().ask(question)
            assert isinstance(answer, list)
            return [
                replace(errand, url=errand.url[:-1] + ("1" if errand.url.endswith("0") else "0")) for errand in answer
            ]

    with pytest.raises(StorageError):
        send(Tampering(door, 0, after=False), bundle, TRUSTED, sleep=lambda _s: None)
    assert not (bundle / UPLOADED_FILE).exists()
    assert read_manifest(bundle).upload_key not in {info.key for info in door.store.list("")}
