"""Bytes that somebody vouches for: Ed25519 signatures in DSSE envelopes (Dead Simple Signing Envelope).

A signature covers the exact bytes and says with its payload type what they are, so it cannot be passed off as a
signature of anything else. `securesystemslib` makes and checks the envelopes, `cryptography` the keys.
"""

import json
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error
from securesystemslib.signer import CryptoSigner, SSlibKey

from volano.storage.content import canonical_json, sha256_bytes


class UnsignedError(ValueError):
    """Nobody who is trusted vouches for it; the text says why."""


def sealed(payload: bytes, payload_type: str, key: Ed25519PrivateKey) -> bytes:
    """The envelope, as JSON, of these exact bytes."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(key))
    return canonical_json(envelope.to_dict())


def unsealed(envelope: bytes, payload_type: str, trusted: Sequence[Ed25519PublicKey]) -> bytes:
    """The bytes in an envelope that one of the trusted keys signed as this type; raises UnsignedError."""
    if not trusted:
        raise UnsignedError("no key is trusted here")
    try:
        parsed = Envelope.from_dict(json.loads(envelope))
    except (Error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnsignedError("the signature is not an envelope") from error
    if parsed.payload_type != payload_type:
        raise UnsignedError("the signature belongs to another kind of document")
    try:
        parsed.verify([SSlibKey.from_crypto(key) for key in trusted], threshold=1)
    except (Error, ValueError, TypeError) as error:
        raise UnsignedError("no trusted key made this signature") from error
    payload: bytes = parsed.payload
    return payload


def key_id(key: Ed25519PublicKey) -> str:
    """Hex SHA-256 of a public key's 32 bytes."""
    return sha256_bytes(key.public_bytes_raw())
