"""Who vouches for a policy: Ed25519 signatures in DSSE envelopes (Dead Simple Signing Envelope).

A signature covers the exact bytes of a manifest and says with its payload type what they are, so it cannot be passed
off as a signature of anything else. `securesystemslib` makes and checks the envelopes, `cryptography` the keys.
"""

import json
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
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error
from securesystemslib.signer import CryptoSigner, SSlibKey

from volano.errors import Code, PolicyError
from volano.storage.content import canonical_json
from volano.storage.files import replace_file, write_once

PAYLOAD_TYPE = "application/vnd.volano.policy-manifest.v1+json"
PRIVATE_KEY, PUBLIC_KEY = "release.key", "release.pub"


def generate(folder: Path) -> Ed25519PrivateKey:
    """The folder's signing key; made on first use, readable by its owner only. Of several that start at once, all get
    the same key. Raises PolicyError(E-POLICY-003) when the file there is no Ed25519 key."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PRIVATE_KEY
    if not path.exists():
        text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_once(path, text, 0o600)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(path)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    replace_file(folder / PUBLIC_KEY, [public])
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
    envelope = Envelope(manifest, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key))
    return canonical_json(envelope.to_dict())


def verify(envelope: bytes, manifest: bytes, trusted: Sequence[Ed25519PublicKey]) -> None:
    """Raise PolicyError(E-POLICY-003) unless one of the trusted keys signed exactly these manifest bytes."""
    if not trusted:
        raise refused("no key is trusted here")
    try:
        parsed = Envelope.from_dict(json.loads(envelope))
        same = parsed.payload == manifest and parsed.payload_type == PAYLOAD_TYPE
    except (Error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise refused("the signature is not an envelope") from error
    if not same:
        raise refused("the signature belongs to another manifest")
    try:
        parsed.verify([SSlibKey.from_crypto(key) for key in trusted], threshold=1)
    except (Error, ValueError, TypeError) as error:
        raise refused("no trusted key made this signature") from error


def _bad_key(path: Path) -> PolicyError:
    return PolicyError(
        Code.POLICY_SIGNATURE, f"{path} is not an Ed25519 key", "name the folder or file that `generate` wrote"
    )


def refused(cause: str) -> PolicyError:
    """E-POLICY-003."""
    return PolicyError(
        Code.POLICY_SIGNATURE, cause, "use a policy signed by a key you trust, or add the signer's public key"
    )
