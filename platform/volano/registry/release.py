"""From a policy folder to the store and back: check, publish, fetch.

No byte of a policy is used before the release keys vouched for its manifest (`volano.registry.metadata`) and every file
was found to be what the manifest says. `fetch` checks in a folder that only this user can enter, so nobody can exchange
a file between the check and its use. The manifest is written last: a policy is whole then, and may be released.
"""

import shutil
from pathlib import Path

from volano.registry.manifest import (
    MANIFEST,
    MAX_TEXT_BYTES,
    Manifest,
    entry_of,
    fingerprints,
    list_folder,
    malformed,
    read_bounded,
    tampered,
)
from volano.registry.metadata import Release, target_of
from volano.registry.weights import read_header
from volano.storage.content import sha256_bytes
from volano.storage.store import ObjectStore


def digest(folder: Path) -> str:
    """The name of the policy in a folder: SHA-256 of its manifest's bytes."""
    return sha256_bytes(read_bounded(folder / MANIFEST))


def check_folder(folder: Path, policy: str | None = None) -> Manifest:
    """The manifest of a folder that is, as a whole, what its manifest says, and the policy of that digest if one is
    named. Whether anybody vouches for that policy, its release says.

    Raises PolicyError: E-POLICY-001 malformed, E-POLICY-002 other, missing or unknown files, or another policy.
    """
    data = read_bounded(folder / MANIFEST)
    _check_digest(data, policy)
    manifest = Manifest.from_bytes(data)
    _check_files(folder, manifest, set(list_folder(folder)))
    return manifest


def publish(store: ObjectStore, folder: Path) -> Manifest:
    """Put a policy into the store, where it may then be released; repeating it, or doing it again after a kill, changes
    nothing. Raises PolicyError like `check_folder`, and then nothing was put."""
    manifest = check_folder(folder)
    for name in (*sorted(manifest.files), MANIFEST):
        store.put_new_file(_key(manifest.digest, name), folder / name)
    return manifest


def fetch(store: ObjectStore, release: Release, folder: Path) -> Manifest:
    """Bring a released policy into the new folder `folder` and verify it there; nothing large is read before its
    manifest was. Raises PolicyError like `check_folder`, StorageError(E-STORE-006) when it is not in the store."""
    prefix = _key(release.policy, "")
    sizes = {info.key.removeprefix(prefix): info.size for info in store.list(prefix)}
    if sizes.get(MANIFEST, release.size) != release.size or release.size > MAX_TEXT_BYTES:
        raise tampered(f"the manifest of policy {release.policy[:12]} has another size than was released")
    folder.mkdir(mode=0o700)
    try:
        store.get_file(target_of(release.policy), folder / MANIFEST)
        data = read_bounded(folder / MANIFEST)
        _check_digest(data, release.policy)
        manifest = Manifest.from_bytes(data)
        _check_names(manifest, set(sizes))
        for name, entry in manifest.files.items():
            if sizes[name] != entry.size:
                raise tampered(f"{name} in the store has {sizes[name]} bytes instead of {entry.size}")
            store.get_file(_key(release.policy, name), folder / name)
        _check_files(folder, manifest, set(list_folder(folder)))
        if manifest.embodiments != dict(release.embodiments):
            raise malformed("the contracts in its manifest are not those that it was released for")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def _key(policy: str, name: str) -> str:
    return f"policies/{policy}/{name}"


def _check_digest(data: bytes, policy: str | None) -> None:
    if policy is not None and sha256_bytes(data) != policy:
        raise tampered(f"the folder holds policy {sha256_bytes(data)[:12]}, not {policy[:12]}")


def _check_files(folder: Path, manifest: Manifest, names: set[str]) -> None:
    _check_names(manifest, names)
    for name, entry in manifest.files.items():
        if (folder / name).stat().st_size != entry.size or entry_of(folder / name) != entry:
            raise tampered(f"{name} is not the file that was described: its bytes changed")
    _check_contents(folder, manifest)


def _check_names(manifest: Manifest, names: set[str]) -> None:
    expected = {*manifest.files, MANIFEST}
    if unknown := sorted(names - expected):
        fix = "fetch it again, or train or export it again; for a store of an earlier Volano, begin a new home"
        raise tampered(f"the policy does not know the file {unknown[0]!r}", fix)
    if missing := sorted(expected - names):
        raise tampered(f"the file {missing[0]!r} is missing")


def _check_contents(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if name.endswith(".safetensors"):
            read_header(folder / name)
    if fingerprints(folder) != manifest.embodiments:
        raise malformed("the contracts in the folder are not those in its manifest")
