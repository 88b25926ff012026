"""Ed25519 keys in files, one each: the platform's for releases, assignments and receipts, a robot's for reports."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from volano.errors import Code, PolicyError
from volano.storage.files import replace_file, write_once


def generate(folder: Path, private: str, public: str) -> Ed25519PrivateKey:
    """The key in the folder's file `private`, its other half in `public`; made on first use, readable by its owner
    only. Of several that start at once, all get the same key. Raises PolicyError(E-POLICY-003) when the file there is
    no Ed25519 key."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / private
    if not path.exists():
        text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_once(path, text, 0o600)
    key = load_private_key(path)
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    replace_file(folder / public, [text])
    return key


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """A key as `generate` wrote it; raises PolicyError(E-POLICY-003) when it is anything else or absent."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(path)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """A public key as `generate` wrote it; raises PolicyError(E-POLICY-003) when it is anything else or absent."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _bad_key(path)
    return key


def _bad_key(path: Path) -> PolicyError:
    return PolicyError(
        Code.POLICY_SIGNATURE, f"{path} is not an Ed25519 key", "name the folder or file that `generate` wrote"
    )
