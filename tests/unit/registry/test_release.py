"""A policy is used only if it is, byte for byte and as a whole, what a trusted key signed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.data.memory_store import MemoryStore
from tests.unit.registry.folders import LINEAGE, exported, released, safetensors
from volano.embodiment.shipped import CAR
from volano.errors import Code, PolicyError, StorageError
from volano.registry.manifest import Manifest, write_manifest
from volano.registry.release import digest, fetch, publish, sign_folder, verify_folder
from volano.storage.content import canonical_json
from volano.storage.open import open_store

KEY = Ed25519PrivateKey.generate()
TRUSTED = [KEY.public_key()]


def test_a_signed_folder_verifies_and_is_named_by_its_manifest(tmp_path: Path) -> None:
    manifest = released(tmp_path / "policy", KEY)
    assert verify_folder(tmp_path / "policy", TRUSTED, manifest.digest) == manifest
    assert digest(tmp_path / "policy") == manifest.digest
    assert manifest.embodiments["car"] == CAR.fingerprint
    assert manifest.lineage == LINEAGE
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def _add(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"x")


def _flip(name: str) -> Callable[[Path], object]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)

    return flip


def _link(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "elsewhere")
    (folder / "config.json").symlink_to(folder.parent / "elsewhere")


def _pipe(name: str) -> Callable[[Path], object]:
    def exchange(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return exchange


def _linked_away(name: str) -> Callable[[Path], object]:
    def exchange(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return exchange


def _endless(folder: Path) -> None:
    """A terabyte of nothing, which takes an hour to hash."""
    os.truncate(folder / "model.safetensors", 1 << 40)


ATTACKS: dict[str, tuple[Callable[[Path], object], Code]] = {
    "changed weights": (_flip("model.safetensors"), Code.POLICY_TAMPERED),
    "changed config": (_flip("config.json"), Code.POLICY_TAMPERED),
    "changed contracts": (_flip("embodiments.json"), Code.POLICY_TAMPERED),
    "changed manifest": (_flip("manifest.json"), Code.POLICY_SIGNATURE),
    "changed signature": (lambda f: (f / "signature.json").write_bytes(b"{}"), Code.POLICY_SIGNATURE),
    "no signature": (lambda f: (f / "signature.json").unlink(), Code.POLICY_SIGNATURE),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), Code.POLICY_FORMAT),
    "file missing": (lambda f: (f / "config.json").unlink(), Code.POLICY_TAMPERED),
    "unknown file": (_add("extra.json"), Code.POLICY_TAMPERED),
    "hidden file": (_add(".hidden"), Code.POLICY_TAMPERED),
    "code": (_add("modeling.py"), Code.POLICY_TAMPERED),
    "pickle": (_add("pytorch_model.bin"), Code.POLICY_TAMPERED),
    "folder": (lambda f: (f / "sub").mkdir(), Code.POLICY_TAMPERED),
    "link": (_link, Code.POLICY_TAMPERED),
    "pipe": (_pipe("config.json"), Code.POLICY_TAMPERED),
    "manifest is a pipe": (_pipe("manifest.json"), Code.POLICY_FORMAT),
    "signature is a pipe": (_pipe("signature.json"), Code.POLICY_FORMAT),
    "manifest is a link": (_linked_away("manifest.json"), Code.POLICY_FORMAT),
    "signature is a link": (_linked_away("signature.json"), Code.POLICY_FORMAT),
    "endless weights": (_endless, Code.POLICY_TAMPERED),
    "signed by another": (
        lambda f: sign_folder(f, Ed25519PrivateKey.generate()),
        Code.POLICY_SIGNATURE,
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_on_a_folder_is_refused_with_its_code(tmp_path: Path, attack: str) -> None:
    folder = tmp_path / "policy"
    released(folder, KEY)
    change, code = ATTACKS[attack]
    change(folder)
    with pytest.raises(PolicyError) as caught:
        verify_folder(folder, TRUSTED)
    assert caught.value.code == code
    store = MemoryStore()
    with pytest.raises(PolicyError) as caught:
        publish(store, folder, TRUSTED)
    assert caught.value.code == code
    assert list(store.list("")) == []


def test_another_policy_than_the_expected_one_is_refused(tmp_path: Path) -> None:
    released(tmp_path / "policy", KEY)
    with pytest.raises(PolicyError) as caught:
        verify_folder(tmp_path / "policy", TRUSTED, "0" * 64)
    assert caught.value.code == Code.POLICY_TAMPERED


@pytest.mark.parametrize("name", ["modeling.py", "model.pkl", "weights.pt", ".hidden.json", "archive.zip"])
def test_what_may_not_be_in_a_policy_is_not_described(tmp_path: Path, name: str) -> None:
    folder = exported(tmp_path / "policy")
    (folder / name).write_bytes(b"x")
    with pytest.raises(PolicyError) as caught:
        write_manifest(folder, LINEAGE)
    assert caught.value.code == Code.POLICY_TAMPERED


def test_lying_weights_are_refused_even_when_signed(tmp_path: Path) -> None:
    folder = exported(tmp_path / "policy")
    header = {"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}
    (folder / "model.safetensors").write_bytes(safetensors(header, b"short"))
    write_manifest(folder, LINEAGE)
    with pytest.raises(PolicyError) as caught:
        sign_folder(folder, KEY)
    assert caught.value.code == Code.POLICY_FORMAT


def test_describing_a_folder_again_takes_its_signature_away(tmp_path: Path) -> None:
    released(tmp_path / "policy", KEY)
    write_manifest(tmp_path / "policy", LINEAGE)
    with pytest.raises(PolicyError, match="not signed"):
        verify_folder(tmp_path / "policy", TRUSTED)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "volano.policy.2"},
        {"files": {"../up.json": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"run.py": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"a.json": {"size": True, "sha256": "0" * 64}}},
        {"files": {"a.json": {"size": 1.0, "sha256": "0" * 64}}},
        {"files": {"a.json": {"size": 1, "sha256": "0" * 63}}},
        {"files": {"manifest.json": {"size": 1, "sha256": "0" * 64}}},
        {"files": []},
        {"embodiments": {}},
        {"embodiments": {"car": 1}},
        {"lineage": {}},
        {"more": 1},
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    plain = json.loads(released(tmp_path / "policy", KEY).to_bytes())
    with pytest.raises(PolicyError) as caught:
        Manifest.from_bytes(canonical_json({**plain, **change}))
    assert caught.value.code == Code.POLICY_FORMAT


def test_a_manifest_has_one_form_only(tmp_path: Path) -> None:
    data = released(tmp_path / "policy", KEY).to_bytes()
    with pytest.raises(PolicyError, match="canonical"):
        Manifest.from_bytes(data.replace(b":", b": ", 1))


def test_published_is_fetched_and_publishing_again_changes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    manifest = released(tmp_path / "policy", KEY)
    assert publish(store, tmp_path / "policy", TRUSTED) == publish(store, tmp_path / "policy", TRUSTED) == manifest
    assert fetch(store, manifest.digest, tmp_path / "fetched", TRUSTED) == manifest
    assert verify_folder(tmp_path / "fetched", TRUSTED) == manifest


def test_a_policy_exists_only_with_its_signature(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    manifest = released(tmp_path / "policy", KEY)
    for name in (*manifest.files, "manifest.json"):  # a publisher that was killed before its last step
        store.put_new_file(f"policies/{manifest.digest}/{name}", tmp_path / "policy" / name)
    with pytest.raises(StorageError) as caught:
        fetch(store, manifest.digest, tmp_path / "fetched", TRUSTED)
    assert caught.value.code == Code.STORE_MISSING
    assert not (tmp_path / "fetched").exists()
    publish(store, tmp_path / "policy", TRUSTED)
    assert fetch(store, manifest.digest, tmp_path / "fetched", TRUSTED) == manifest


@pytest.mark.parametrize("change", ["other bytes", "more bytes", "more files", "other key"])
def test_what_the_store_made_of_a_policy_is_refused(tmp_path: Path, change: str) -> None:
    store = open_store(str(tmp_path / "store"))
    manifest = released(tmp_path / "policy", KEY)
    publish(store, tmp_path / "policy", TRUSTED)
    key = f"policies/{manifest.digest}/model.safetensors"
    content = store.get(key)
    if change in {"other bytes", "more bytes"}:
        store.delete(key)
        store.put_new(key, content[:-1] + b"!" if change == "other bytes" else content + b"!")
    if change == "more files":
        store.put_new(f"policies/{manifest.digest}/extra.json", b"{}")
    trusted = [Ed25519PrivateKey.generate().public_key()] if change == "other key" else TRUSTED
    with pytest.raises(PolicyError) as caught:
        fetch(store, manifest.digest, tmp_path / "fetched", trusted)
    assert caught.value.code == (Code.POLICY_SIGNATURE if change == "other key" else Code.POLICY_TAMPERED)
    assert not (tmp_path / "fetched").exists()
