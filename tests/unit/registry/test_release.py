"""A policy is used only if it is, byte for byte and as a whole, what a trusted key signed."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.memory_store import MemoryStore
from tests.unit.registry.folders import LINEAGE, described, exported, platform, safetensors
from volano.embodiment.shipped import CAR
from volano.errors import Code, PolicyError, StorageError
from volano.registry.manifest import Manifest, write_manifest
from volano.registry.release import check_folder, digest, fetch, publish
from volano.storage.content import canonical_json
from volano.storage.open import open_store


def test_a_described_folder_is_named_by_its_manifest(tmp_path: Path) -> None:
    manifest = described(tmp_path / "policy")
    assert check_folder(tmp_path / "policy", manifest.digest) == manifest
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
    "changed manifest": (_flip("manifest.json"), Code.POLICY_FORMAT),
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
    "manifest is a link": (_linked_away("manifest.json"), Code.POLICY_FORMAT),
    "endless weights": (_endless, Code.POLICY_TAMPERED),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_on_a_folder_is_refused_with_its_code(tmp_path: Path, attack: str) -> None:
    folder = tmp_path / "policy"
    described(folder)
    change, code = ATTACKS[attack]
    change(folder)
    with pytest.raises(PolicyError) as caught:
        check_folder(folder)
    assert caught.value.code == code
    store = MemoryStore()
    with pytest.raises(PolicyError) as caught:
        publish(store, folder)
    assert caught.value.code == code
    assert list(store.list("")) == []


def test_another_policy_than_the_expected_one_is_refused(tmp_path: Path) -> None:
    described(tmp_path / "policy")
    with pytest.raises(PolicyError) as caught:
        check_folder(tmp_path / "policy", "0" * 64)
    assert caught.value.code == Code.POLICY_TAMPERED


@pytest.mark.parametrize("name", ["modeling.py", "model.pkl", "weights.pt", ".hidden.json", "archive.zip"])
def test_what_may_not_be_in_a_policy_is_not_described(tmp_path: Path, name: str) -> None:
    folder = exported(tmp_path / "policy")
    (folder / name).write_bytes(b"x")
    with pytest.raises(PolicyError) as caught:
        write_manifest(folder, LINEAGE)
    assert caught.value.code == Code.POLICY_TAMPERED


def test_lying_weights_are_refused_even_when_described(tmp_path: Path) -> None:
    folder = exported(tmp_path / "policy")
    header = {"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}
    (folder / "model.safetensors").write_bytes(safetensors(header, b"short"))
    write_manifest(folder, LINEAGE)
    with pytest.raises(PolicyError) as caught:
        publish(MemoryStore(), folder)
    assert caught.value.code == Code.POLICY_FORMAT


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
    plain = json.loads(described(tmp_path / "policy").to_bytes())
    with pytest.raises(PolicyError) as caught:
        Manifest.from_bytes(canonical_json({**plain, **change}))
    assert caught.value.code == Code.POLICY_FORMAT


def test_a_manifest_has_one_form_only(tmp_path: Path) -> None:
    data = described(tmp_path / "policy").to_bytes()
    with pytest.raises(PolicyError, match="canonical"):
        Manifest.from_bytes(data.replace(b":", b": ", 1))


def test_released_is_fetched_and_publishing_again_changes_nothing(tmp_path: Path) -> None:
    home = platform(tmp_path, open_store(str(tmp_path / "store")))
    manifest = home.release("policy")
    assert publish(home.store, tmp_path / "policy") == manifest
    assert fetch(home.store, home.look().of(manifest.digest), tmp_path / "fetched") == manifest
    assert check_folder(tmp_path / "fetched") == manifest


@pytest.mark.parametrize("change", ["other bytes", "more bytes", "more files", "no file", "no manifest"])
def test_what_the_store_made_of_a_policy_is_refused(tmp_path: Path, change: str) -> None:
    home = platform(tmp_path)
    manifest = home.release("policy")
    key = f"policies/{manifest.digest}/model.safetensors"
    content = home.store.get(key)
    if change in {"other bytes", "more bytes", "no file"}:
        home.store.delete(key)
    if change in {"other bytes", "more bytes"}:
        home.store.put_new(key, content[:-1] + b"!" if change == "other bytes" else content + b"!")
    if change == "more files":
        home.store.put_new(f"policies/{manifest.digest}/extra.json", b"{}")
    if change == "no manifest":
        home.store.delete(f"policies/{manifest.digest}/manifest.json")
    with pytest.raises((PolicyError, StorageError)) as caught:
        fetch(home.store, home.look().of(manifest.digest), tmp_path / "fetched")
    assert caught.value.code == (Code.STORE_MISSING if change == "no manifest" else Code.POLICY_TAMPERED)
    assert not (tmp_path / "fetched").exists()


def test_a_release_for_other_contracts_than_its_policy_s_is_refused(tmp_path: Path) -> None:
    home = platform(tmp_path)
    manifest = home.release("policy")
    other = replace(home.look().of(manifest.digest), embodiments={"car": CAR.fingerprint})
    with pytest.raises(PolicyError) as caught:
        fetch(home.store, other, tmp_path / "fetched")
    assert caught.value.code == Code.POLICY_FORMAT
    assert not (tmp_path / "fetched").exists()


def test_what_an_earlier_release_left_is_refused_with_what_to_do(tmp_path: Path) -> None:
    described(tmp_path / "policy")
    (tmp_path / "policy" / "signature.json").write_text("{}")
    with pytest.raises(PolicyError, match="begin a new home") as caught:
        check_folder(tmp_path / "policy")
    assert caught.value.code is Code.POLICY_TAMPERED
