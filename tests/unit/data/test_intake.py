"""The platform takes a robot's upload exactly once, whatever dies on the way, and nothing but that robot's own."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.data.dying_store import DyingStore
from tests.unit.data.heavy import PART, SIZES, heavy
from tests.unit.data.memory_store import Killed, MemoryStore
from volano.data import pieces
from volano.data.bundle import read_manifest
from volano.data.intake import Allowance, Intake, read_offer
from volano.data.pieces import read_piece
from volano.data.receipt import verify_receipt
from volano.data.send import question_of
from volano.errors import Code, DataError, StorageError, VolanoError, WireError
from volano.ledger.ledger import Ledger, open_ledger
from volano.storage.content import sha256_bytes
from volano.storage.folder import FolderStore
from volano.storage.keys import RESERVED
from volano.storage.parts import PartStore, put_slot

KEY = Ed25519PrivateKey.generate()
NUM_PIECES = 1 + 4 + 2


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_BYTES", PART)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return heavy(tmp_path_factory.mktemp("robot"))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}") as opened:
        yield opened


def question(bundle: Path, **changes: Any) -> bytes:
    """What a robot asks, with some claims of the manifest replaced."""
    found = json.loads(question_of(bundle, read_manifest(bundle)))
    found["manifest"] |= changes
    return json.dumps(found).encode()


def carry(store: PartStore, ledger: Ledger, bundle: Path, allowance: Allowance | None = None) -> bytes:
    """Ask and put until there is a receipt."""
    intake = Intake(store, ledger, KEY, allowance or Allowance())
    for _ in range(5):
        found = intake.take("rover-01", read_offer(question(bundle)), 1e9)
        if isinstance(found, bytes):
            return found
        for piece in found:
            put_slot(store, piece.slot, read_piece(bundle, piece.name, piece.start, piece.slot.size))
    raise AssertionError("it never ends")


def check_whole(store: PartStore, bundle: Path) -> None:
    """One upload, its files, and nothing else."""
    manifest = read_manifest(bundle)
    assert store.get("uploads/rover-01/attempt-0001.json") == manifest.to_bytes()
    for name, entry in manifest.files.items():
        assert store.get(f"blobs/{entry.sha256}") == (bundle / name).read_bytes()
    assert len(list(store.list(""))) == 1 + len(manifest.files)


def folder_store(root: Path) -> FolderStore:
    root.mkdir()
    return FolderStore(root)


def test_an_upload_is_taken_once_and_gets_a_receipt_each_time(bundle: Path, ledger: Ledger, tmp_path: Path) -> None:
    store = folder_store(tmp_path / "store")
    for _ in range(2):
        verify_receipt(carry(store, ledger, bundle), read_manifest(bundle), [KEY.public_key()])
    check_whole(store, bundle)
    assert list((store.root / RESERVED).iterdir()) == []


def test_no_receipt_is_given_for_what_is_not_there_any_more(bundle: Path, ledger: Ledger) -> None:
    store = MemoryStore()
    carry(store, ledger, bundle)
    for entry in read_manifest(bundle).files.values():
        del store.objects[f"blobs/{entry.sha256}"]
        assert isinstance(
            Intake(store, ledger, KEY, Allowance()).take("rover-01", read_offer(question(bundle)), 1.0), list
        )
        carry(store, ledger, bundle)
        check_whole(store, bundle)


def test_a_death_after_any_request_is_healed_by_asking_again(bundle: Path, ledger: Ledger) -> None:
    calm = DyingStore(MemoryStore(), 0)
    carry(calm, ledger, bundle)
    assert calm.parts.sent == 4 + 2
    for last in range(1, calm.done + 1):
        store = MemoryStore()
        first, second = DyingStore(store, last), DyingStore(store, 0)
        with pytest.raises(Killed):
            carry(first, ledger, bundle)
        if "uploads/rover-01/attempt-0001.json" in store.objects:
            check_whole(store, bundle)
        verify_receipt(carry(second, ledger, bundle), read_manifest(bundle), [KEY.public_key()])
        check_whole(store, bundle)
        assert first.parts.sent + second.parts.sent == calm.parts.sent, "a part was sent twice"
        assert store.parts.unfinished == {}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(1, 45), max_size=6))
def test_any_number_of_deaths_ends_as_none(bundle: Path, ledger: Ledger, deaths: list[int]) -> None:
    store = MemoryStore()
    for last in deaths:
        with suppress(Killed):
            carry(DyingStore(store, last), ledger, bundle)
        assert {key.split("/")[0] for key in store.objects} <= {"blobs", "incoming", "uploads"}
    carry(store, ledger, bundle)
    check_whole(store, bundle)
    assert store.parts.unfinished == {}


def test_a_piece_takes_its_own_bytes_only(bundle: Path, ledger: Ledger) -> None:
    store = MemoryStore()
    found = Intake(store, ledger, KEY, Allowance()).take("rover-01", read_offer(question(bundle)), 1.0)
    assert isinstance(found, list)
    for piece in found:
        own = read_piece(bundle, piece.name, piece.start, piece.slot.size)
        for other in (own[:-1], own + b"x", own[:-1] + bytes([own[-1] ^ 1]), b""):
            with pytest.raises(StorageError) as caught:
                put_slot(store, piece.slot, other)
            assert caught.value.code is Code.STORE_PARTS
    assert store.objects == {}
    assert not any(store.parts.unfinished.values())


def test_another_robots_name_is_refused_and_nothing_is_written(bundle: Path, ledger: Ledger) -> None:
    store = MemoryStore()
    offer = read_offer(question(bundle, robot="rover-02"))
    with pytest.raises(DataError) as caught:
        Intake(store, ledger, KEY, Allowance()).take("rover-01", offer, 1.0)
    assert caught.value.code is Code.DATA_ROBOT
    assert (store.objects, store.parts.unfinished) == ({}, {})


def test_only_what_the_manifest_lists_is_ever_named(bundle: Path, ledger: Ledger) -> None:
    found = Intake(MemoryStore(), ledger, KEY, Allowance()).take("rover-01", read_offer(question(bundle)), 1.0)
    assert isinstance(found, list)
    files = read_manifest(bundle).files
    assert len(found) == NUM_PIECES
    for piece in found:
        entry = files[piece.name]
        assert piece.slot.key in {f"blobs/{entry.sha256}", f"incoming/rover-01/{entry.sha256}"}
        assert piece.start + piece.slot.size <= entry.size


def test_the_same_name_with_new_content_is_refused_before_a_byte_is_sent(
    bundle: Path, ledger: Ledger, tmp_path: Path
) -> None:
    store = MemoryStore()
    carry(store, ledger, bundle)
    before = dict(store.objects)
    for changed in (question(bundle, instruction="stop"), question(heavy(tmp_path, seed=1))):
        with pytest.raises(DataError) as caught:
            Intake(store, ledger, KEY, Allowance()).take("rover-01", read_offer(changed), 1.0)
        assert caught.value.code is Code.DATA_ATTEMPT
    assert store.objects == before


def test_parts_that_make_another_file_become_no_blob(bundle: Path, ledger: Ledger) -> None:
    """Every part may have the hash that the robot announced: the whole is read back before it gets its name."""
    store, other = MemoryStore(), b"x" * PART
    lying = json.loads(question(bundle))
    lying["parts"]["camera.ego.mp4"][1] = sha256_bytes(other)
    intake = Intake(store, ledger, KEY, Allowance())
    found = intake.take("rover-01", read_offer(json.dumps(lying).encode()), 1.0)
    assert isinstance(found, list)
    for piece in found:
        own = read_piece(bundle, piece.name, piece.start, piece.slot.size)
        put_slot(store, piece.slot, other if piece.slot.sha256 == sha256_bytes(other) else own)
    with pytest.raises(StorageError) as caught:
        intake.take("rover-01", read_offer(json.dumps(lying).encode()), 1.0)
    assert caught.value.code is Code.STORE_PARTS
    assert f"blobs/{read_manifest(bundle).files['camera.ego.mp4'].sha256}" not in store.objects
    assert not any(key.startswith(("uploads/", "incoming/")) for key in store.objects)
    carry(store, ledger, bundle)
    check_whole(store, bundle)


def test_a_manifest_that_states_another_size_describes_no_file(bundle: Path, ledger: Ledger) -> None:
    store = MemoryStore()
    carry(store, ledger, bundle)
    lying = json.loads(question(bundle, attempt="attempt-0002"))
    lying["manifest"]["files"]["steps.parquet"]["size"] -= 1
    with pytest.raises(DataError) as caught:
        Intake(store, ledger, KEY, Allowance()).take("rover-01", read_offer(json.dumps(lying).encode()), 1.0)
    assert caught.value.code is Code.DATA_HASH


def test_an_episode_that_is_too_large_is_refused(bundle: Path, ledger: Ledger) -> None:
    store = MemoryStore()
    offer = read_offer(question(bundle))
    assert offer.size == sum(SIZES.values()) + len(offer.manifest.to_bytes())
    with pytest.raises(DataError) as caught:
        Intake(store, ledger, KEY, Allowance(episode_bytes=offer.size - 1)).take("rover-01", offer, 1.0)
    assert caught.value.code is Code.DATA_SIZE
    assert store.parts.unfinished == {}


def test_a_robot_has_its_share_of_a_day_and_what_was_granted_stays_so(
    tmp_path: Path, bundle: Path, ledger: Ledger
) -> None:
    size = read_offer(question(bundle)).size
    intake = Intake(MemoryStore(), ledger, KEY, Allowance(day_bytes=2 * size + size // 2))
    day = 5e9
    offers = [read_offer(question(heavy(tmp_path, f"attempt-1{n}", seed=n), started_at=day + n)) for n in range(3)]
    for offer in (offers[0], offers[1], offers[0], offers[1]):
        assert intake.take("rover-01", offer, day)
    with pytest.raises(DataError) as caught:
        intake.take("rover-01", offers[2], day)
    assert caught.value.code is Code.DATA_QUOTA
    assert intake.take("rover-01", offers[0], day + 90_000), "what was begun may be ended"
    assert intake.take("rover-01", offers[2], day + 90_000), "a new day"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "E-WIRE-001"),
        (b"[]", "E-WIRE-001"),
        (b"[" * 50_000, "E-WIRE-001"),
        (b'{"manifest": {}, "parts": {}}', "E-DATA-014"),
        (b'{"manifest": {}, "parts": {}, "parts": {}}', "E-WIRE-001"),
        ({"robot": "../../x"}, "E-DATA-014"),
        ({"attempt": "a/../b"}, "E-DATA-014"),
        ({"attempt": ".."}, "E-DATA-014"),
        ({"files": {"../steps.parquet": {"size": 1, "sha256": "ab" * 32}}}, "E-DATA-014"),
        ({"files": {"steps.parquet": {"size": 1, "sha256": "../../" + "ab" * 29}}}, "E-DATA-014"),
        ({"files": {"steps.parquet": {"size": -1, "sha256": "ab" * 32}}}, "E-DATA-014"),
        ({"files": {"steps.parquet": {"size": 1 << 40, "sha256": "ab" * 32}}}, "E-WIRE-001"),
        ("parts of no file", "E-WIRE-001"),
        ("too few parts", "E-WIRE-001"),
        ("a part of words", "E-WIRE-001"),
    ],
)
def test_hostile_questions_are_codes(bundle: Path, data: object, code: str) -> None:
    found = json.loads(question(bundle))
    if isinstance(data, dict):
        data = question(bundle, **data)
    elif data == "parts of no file":
        found["parts"]["steps.parquet"] = ["ab" * 32]
    elif data == "too few parts":
        found["parts"]["camera.ego.mp4"].pop()
    elif data == "a part of words":
        found["parts"]["camera.ego.mp4"][0] = "../" * 21 + "x"
    raw = data if isinstance(data, bytes) else json.dumps(found).encode()
    with pytest.raises(VolanoError) as caught:
        read_offer(raw)
    assert caught.value.code == code
    assert isinstance(caught.value, DataError | WireError)
