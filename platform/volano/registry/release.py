"""From a policy folder to a release and back: sign, verify, publish, fetch.

No byte of a policy is used before its manifest was signed by a trusted key and every file was found to be what the
manifest says. `open_verified` works on a private copy whose bytes were hashed while they were written, so nobody can
exchange a file between the check and its use. The signature is written last: it makes a policy exist.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.data.episode import FileEntry
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
from volano.storage.files import CHUNK_BYTES, replace_file, sync_folder, write_synced
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


def open_verified(source: Path, private: Path, trusted: Keys, expected_digest: str | None = None) -> Manifest:
    """Copy a policy into the new folder `private`, which only this user can enter, and verify what was copied.

    Load the policy from `private`, never from `source`. Raises PolicyError like `verify_folder`; then there is no
    folder `private`.
    """
    manifest = _signed_manifest(source, trusted, expected_digest)
    _check_names(manifest, set(list_folder(source)))
    private.mkdir(mode=0o700)
    try:
        for name, entry in manifest.files.items():
            _copy(source / name, private / name, entry)
        for name in (MANIFEST, SIGNATURE):
            write_synced(private / name, [read_bounded(source / name)], 0o600)
        sync_folder(private)
        _signed_manifest(private, trusted, manifest.digest)
        _check_contents(private, manifest)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise
    return manifest


def publish(store: ObjectStore, folder: Path) -> str:
    """Put a signed policy into the store and return its digest; repeating it, or doing it again after a kill, changes
    nothing. Raises PolicyError when the folder is not what its manifest says or is not signed."""
    manifest = Manifest.from_bytes(read_bounded(folder / MANIFEST))
    _check_files(folder, manifest, set(list_folder(folder)))
    for name in (*sorted(manifest.files), MANIFEST, SIGNATURE):
        store.put_new_file(_key(manifest.digest, name), folder / name)
    return manifest.digest


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


def _copy(source: Path, target: Path, entry: FileEntry) -> None:
    """Copy a plain file of exactly the size and hash of its entry; what is hashed is what is written."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise tampered(f"{source.name} cannot be read: {error.strerror}") from error
    found = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise tampered(f"{source.name!r} is not a plain file")
        write_synced(target, _pieces(stream, entry.size, found.update), 0o600)
    if found.hexdigest() != entry.sha256:
        raise tampered(f"{source.name} is not the file that was described: its bytes changed")


def _pieces(stream: BinaryIO, size: int, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """At most `size + 1` bytes in pieces: a file that grows meanwhile ends as a wrong hash, not as a full disk."""
    left = size + 1
    while left and (piece := stream.read(min(left, CHUNK_BYTES))):
        left -= len(piece)
        seen(piece)
        yield piece
