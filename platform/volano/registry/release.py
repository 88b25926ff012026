"""From a policy folder to a release and back: sign, verify, publish, fetch.

No byte of a policy is used before its manifest was signed by a trusted key and every file was found to be what the
manifest says. `fetch` checks in a folder that only this user can enter, so nobody can exchange a file between the check
and its use. The signature is written last: it makes a policy exist.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.registry.manifest import (
    MANIFEST,
    MAX_TEXT_BYTES,
    SIGNATURE,
    Manifest,
    entry_of,
    fingerprints,
    list_folder,
    malformed,
    read_bounded,
    tampered,
)
from volano.registry.signing import refused, sign, verify
from volano.registry.weights import read_header
from volano.storage.content import sha256_bytes
from volano.storage.files import replace_file
from volano.storage.store import ObjectStore

Keys = Sequence[Ed25519PublicKey]


def digest(folder: Path) -> str:
    """The name of the policy in a folder: SHA-256 of its manifest's bytes."""
    return sha256_bytes(read_bounded(folder / MANIFEST))


def sign_folder(folder: Path, key: Ed25519PrivateKey) -> str:
    """Check a folder against its manifest, sign it, and return its digest. Raises PolicyError like `verify_folder`."""
    data = read_bounded(folder / MANIFEST)
    manifest = Manifest.from_bytes(data)
    _check_files(folder, manifest, set(list_folder(folder)) | {SIGNATURE})
    replace_file(folder / SIGNATURE, [sign(data, key)])
    return manifest.digest


def verify_folder(folder: Path, trusted: Keys, expected_digest: str | None = None) -> Manifest:
    """The manifest of a folder that is, as a whole, what a trusted key signed.

    Raises PolicyError: E-POLICY-001 malformed, E-POLICY-002 other, missing or unknown files or another digest than
    expected, E-POLICY-003 no trusted signature.
    """
    manifest = _signed_manifest(folder, trusted, expected_digest)
    _check_files(folder, manifest, set(list_folder(folder)))
    return manifest


def publish(store: ObjectStore, folder: Path, trusted: Keys) -> Manifest:
    """Put a policy that a trusted key signed into the store; repeating it, or doing it again after a kill, changes
    nothing. Raises PolicyError like `verify_folder`, and then nothing was put."""
    manifest = verify_folder(folder, trusted)
    for name in (*sorted(manifest.files), MANIFEST, SIGNATURE):
        store.put_new_file(_key(manifest.digest, name), folder / name)
    return manifest


def fetch(store: ObjectStore, policy: str, folder: Path, trusted: Keys) -> Manifest:
    """Bring the policy of that digest into the new folder `folder` and verify it there; its signature is checked before
    anything large is read. Raises PolicyError like `verify_folder`, StorageError(E-STORE-006) when there is none."""
    prefix = _key(policy, "")
    sizes = {info.key.removeprefix(prefix): info.size for info in store.list(prefix)}
    if SIGNATURE in sizes and max(sizes.get(MANIFEST, 0), sizes[SIGNATURE]) > MAX_TEXT_BYTES:
        raise malformed(f"the manifest or signature of policy {policy[:12]} is larger than {MAX_TEXT_BYTES} bytes")
    folder.mkdir(mode=0o700)
    try:
        for name in (SIGNATURE, MANIFEST):
            store.get_file(_key(policy, name), folder / name)
        manifest = _signed_manifest(folder, trusted, policy)
        _check_names(manifest, set(sizes))
        for name, entry in manifest.files.items():
            if sizes[name] != entry.size:
                raise tampered(f"{name} in the store has {sizes[name]} bytes instead of {entry.size}")
            store.get_file(_key(policy, name), folder / name)
        _check_files(folder, manifest, set(list_folder(folder)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def _key(policy: str, name: str) -> str:
    return f"policies/{policy}/{name}"


def _signed_manifest(folder: Path, trusted: Keys, expected_digest: str | None) -> Manifest:
    """The signature is the first thing that is checked, and the manifest is parsed only after it holds."""
    data = read_bounded(folder / MANIFEST)
    if not os.path.lexists(folder / SIGNATURE):
        raise refused("the policy is not signed")
    envelope = read_bounded(folder / SIGNATURE)
    verify(envelope, data, trusted)
    if expected_digest is not None and sha256_bytes(data) != expected_digest:
        raise tampered(f"the folder holds policy {sha256_bytes(data)[:12]}, not {expected_digest[:12]}")
    return Manifest.from_bytes(data)


def _check_files(folder: Path, manifest: Manifest, names: set[str]) -> None:
    _check_names(manifest, names)
    for name, entry in manifest.files.items():
        if (folder / name).stat().st_size != entry.size or entry_of(folder / name) != entry:
            raise tampered(f"{name} is not the file that was described: its bytes changed")
    _check_contents(folder, manifest)


def _check_names(manifest: Manifest, names: set[str]) -> None:
    expected = {*manifest.files, MANIFEST, SIGNATURE}
    if unknown := sorted(names - expected):
        raise tampered(f"the policy does not know the file {unknown[0]!r}")
    if missing := sorted(expected - names):
        raise tampered(f"the file {missing[0]!r} is missing")


def _check_contents(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if name.endswith(".safetensors"):
            read_header(folder / name)
    if fingerprints(folder) != manifest.embodiments:
        raise malformed("the contracts in the folder are not those in its manifest")
