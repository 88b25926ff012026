"""Who vouches for a policy: Ed25519 keys in files, and signatures of a manifest's exact bytes by them."""

from collections.abc import Sequence
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
from volano.storage.envelope import UnsignedError, sealed, unsealed
from volano.storage.files import replace_file, write_once

PAYLOAD_TYPE = "application/vnd.volano.policy-manifest.v1+json"
PRIVATE_KEY, PUBLIC_KEY = "release.key", "release.pub"


def generate(folder: Path, private: str = PRIVATE_KEY, public: str = PUBLIC_KEY) -> Ed25519PrivateKey:
    """The folder's signing key in the file `private`, its other half in `public`; made on first use, readable by its
    owner only. Of several that start at once, all get the same key. Raises PolicyError(E-POLICY-003) when the file
    there is no Ed25519 key."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / private
    if not path.exists():
        text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_once(path, text, 0o600)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(path)
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    replace_file(folder / public, [text])
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


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The envelope, as JSON, of a manifest's exact bytes."""
    return sealed(manifest, PAYLOAD_TYPE, key)


def verify(envelope: bytes, manifest: bytes, trusted: Sequence[Ed25519PublicKey]) -> None:
    """Raise PolicyError(E-POLICY-003) unless one of the trusted keys signed exactly these manifest bytes."""
    try:
        signed = unsealed(envelope, PAYLOAD_TYPE, trusted)
    except UnsignedError as error:
        raise refused(str(error)) from error
    if signed != manifest:
        raise refused("the signature belongs to another manifest")


def _bad_key(path: Path) -> PolicyError:
    return PolicyError(
        Code.POLICY_SIGNATURE, f"{path} is not an Ed25519 key", "name the folder or file that `generate` wrote"
    )


def refused(cause: str) -> PolicyError:
    """E-POLICY-003."""
    return PolicyError(
        Code.POLICY_SIGNATURE, cause, "use a policy signed by a key you trust, or add the signer's public key"
    )
