"""The platform's word that an upload is in its store: signed, about one manifest, and worth a robot's disk.

A robot frees the disk of a bundle for nothing less. The signature is bound to this kind of document, the receipt to the
robot, the attempt and the manifest's exact bytes, so that another's receipt, or an older one, says nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.data.episode import Manifest
from volano.data.text import strict_json
from volano.errors import Code, DataError
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.envelope import UnsignedError, key_id, sealed, unsealed

PAYLOAD_TYPE = "application/vnd.volano.upload-receipt.v1+json"
PRIVATE_KEY, PUBLIC_KEY = "receipt.key", "receipt.pub"
"""Files of the platform's key for receipts: another than that for releases, for it stands where robots knock."""


@dataclass(frozen=True, kw_only=True)
class SignedReceipt:
    """What the platform says; everything is durable in its store."""

    robot: str
    attempt: str
    key: str
    """Of the manifest in the store."""
    content_id: str
    manifest_sha256: str
    received_at: float
    """Unix time in seconds at which the platform made sure of it."""
    key_id: str
    """SHA-256 of the public key that signed."""


def sign_receipt(manifest: Manifest, key: Ed25519PrivateKey, now: float) -> bytes:
    """The envelope with the receipt for a manifest that is in the store with all its files."""
    receipt = {**_about(manifest), "received_at": now, "key_id": key_id(key.public_key())}
    return sealed(canonical_json(receipt), PAYLOAD_TYPE, key)


def verify_receipt(envelope: bytes, manifest: Manifest, trusted: Sequence[Ed25519PublicKey]) -> SignedReceipt:
    """The receipt in an envelope. Raises DataError(E-DATA-095) unless a trusted key signed it for this manifest."""
    try:
        receipt = _parsed(unsealed(envelope, PAYLOAD_TYPE, trusted))
    except (UnsignedError, TypeError, ValueError, RecursionError) as error:
        raise _refused(str(error)) from error
    about = _about(manifest)
    for name, value in about.items():
        if getattr(receipt, name) != value:
            raise _refused(f"it is about another {name.replace('_', ' ')}")
    if receipt.key_id not in {key_id(key) for key in trusted}:
        raise _refused("it names a key that did not sign it")
    return receipt


def _about(manifest: Manifest) -> dict[str, str]:
    return {
        "robot": manifest.robot,
        "attempt": manifest.attempt,
        "key": manifest.upload_key,
        "content_id": manifest.content_id,
        "manifest_sha256": sha256_bytes(manifest.to_bytes()),
    }


def _parsed(payload: bytes) -> SignedReceipt:
    found = strict_json(payload)
    if not isinstance(found, dict) or type(found.get("received_at")) not in (int, float):
        raise ValueError("it is no receipt")
    return SignedReceipt(**found)


def _refused(cause: str) -> DataError:
    return DataError(
        Code.DATA_RECEIPT,
        f"the receipt is not believed: {cause}",
        "keep the bundle, and check which platform answers and which key is trusted",
    )
