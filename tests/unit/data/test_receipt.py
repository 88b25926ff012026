"""A receipt is believed for the very manifest that a trusted key signed it for, and for nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.data.heavy import heavy
from volano.data.bundle import MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.episode import Manifest
from volano.data.receipt import PAYLOAD_TYPE, sign_receipt, verify_receipt
from volano.data.send import free, sent
from volano.data.upload import pending
from volano.errors import Code, DataError
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.envelope import key_id, sealed

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TRUSTED = [OTHER.public_key(), KEY.public_key()]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return heavy(tmp_path)


def refused(envelope: bytes, manifest: Manifest) -> str:
    with pytest.raises(DataError) as caught:
        verify_receipt(envelope, manifest, [KEY.public_key()])
    assert caught.value.code is Code.DATA_RECEIPT
    return caught.value.cause


def test_a_receipt_says_who_what_where_when_and_by_which_key(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    receipt = verify_receipt(sign_receipt(manifest, KEY, 12.5), manifest, TRUSTED)
    assert (receipt.robot, receipt.attempt, receipt.received_at) == ("rover-01", "attempt-0001", 12.5)
    assert receipt.key == "uploads/rover-01/attempt-0001.json"
    assert receipt.content_id == manifest.content_id
    assert receipt.manifest_sha256 == sha256_bytes(manifest.to_bytes())
    assert receipt.key_id == key_id(KEY.public_key())


@pytest.mark.parametrize("change", [{"robot": "rover-02"}, {"attempt": "attempt-0002"}, {"instruction": "stop"}])
def test_a_receipt_of_another_upload_is_refused(bundle: Path, change: dict[str, str]) -> None:
    manifest = read_manifest(bundle)
    other = replace(manifest, **change)  # type: ignore[arg-type]
    assert "another" in refused(sign_receipt(other, KEY, 1.0), manifest)


def test_what_the_platform_did_not_sign_as_a_receipt_is_none(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    good = json.loads(sign_receipt(manifest, KEY, 1.0))
    refused(sign_receipt(manifest, OTHER, 1.0), manifest)
    refused(b"", manifest)
    refused(b"[" * 10_000, manifest)
    refused(canonical_json({**good, "payload": good["payload"][:-4]}), manifest)
    refused(sealed(manifest.to_bytes(), "application/vnd.volano.policy-assignment.v1+json", KEY), manifest)
    for payload in (b"{}", b"null", b'{"received_at": "now"}', b'{"received_at": NaN}'):
        refused(sealed(payload, PAYLOAD_TYPE, KEY), manifest)


def test_a_disk_is_freed_for_a_receipt_and_for_nothing_less(bundle: Path, tmp_path: Path) -> None:
    manifest, marker = read_manifest(bundle), bundle / UPLOADED_FILE
    before = sorted(path.name for path in bundle.iterdir())
    direct = canonical_json({"status": "stored", "key": "uploads/x", "content_id": manifest.content_id})
    other = sign_receipt(replace(manifest, attempt="attempt-0002"), KEY, 1.0)
    for found in (None, b"", direct, other, sign_receipt(manifest, OTHER, 1.0)):
        if found is not None:
            marker.write_bytes(found)
        with pytest.raises(DataError) as caught:
            free(bundle, [KEY.public_key()])
        assert caught.value.code is Code.DATA_RECEIPT
        assert sorted(path.name for path in bundle.iterdir() if path != marker) == before
    marker.write_bytes(sign_receipt(manifest, KEY, 1.0))
    free(bundle, [KEY.public_key()])
    assert list(tmp_path.iterdir()) == []


def test_a_removal_that_was_killed_is_ended(bundle: Path, tmp_path: Path) -> None:
    (bundle / UPLOADED_FILE).write_bytes(sign_receipt(read_manifest(bundle), KEY, 1.0))
    (bundle / MANIFEST_FILE).unlink()
    assert (pending(tmp_path), sent(tmp_path)) == ([], [bundle])
    free(bundle, [KEY.public_key()])
    assert list(tmp_path.iterdir()) == []
