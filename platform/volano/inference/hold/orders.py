"""Orders to stop and to resume, signed: what a gateway, a robot and a file on a stick believe alike.

Stopping needs the fewest rights and resuming the most: whoever may resume may stop as well, and not the other way.
The signature is bound to this kind of document, so that no other of a key's signatures is taken for an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from volano.data.text import strict_json
from volano.errors import Code, HoldError
from volano.inference.hold.state import Order, Stop, order_from_json, order_to_json
from volano.storage.content import canonical_json
from volano.storage.envelope import UnsignedError, sealed, unsealed
from volano.storage.files import write_once

PAYLOAD_TYPE = "application/vnd.volano.hold-order.v1+json"
STOP_KEY, RESUME_KEY = "stop.key", "resume.key"
STOP_PUBLIC, RESUME_PUBLIC = "stop.pub", "resume.pub"
MAX_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Whose orders count."""

    stop: Sequence[Ed25519PublicKey]
    """May stop."""
    resume: Sequence[Ed25519PublicKey]
    """May stop and resume."""


def read_authority(folder: Path) -> Authority:
    """The keys in `stop.pub` and `resume.pub` of a folder; one that is absent trusts nobody. Raises
    HoldError(E-HOLD-003) for a file that is no key."""
    stop, resume = (_public_keys(folder / name) for name in (STOP_PUBLIC, RESUME_PUBLIC))
    return Authority(stop=stop, resume=resume)


def make_keys(folder: Path) -> None:
    """An operators' key for each right, unless its public half is there: the private one may be elsewhere by then. They
    are readable by their owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    for private, public in ((STOP_KEY, STOP_PUBLIC), (RESUME_KEY, RESUME_PUBLIC)):
        if not (folder / public).exists():
            made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_once(folder / private, made, 0o600)
            other = read_key(folder / private).public_key()
            write_once(folder / public, other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)


def write_order(order: Order, key: Ed25519PrivateKey) -> bytes:
    """The signed order, as JSON."""
    return sealed(canonical_json(order_to_json(order)), PAYLOAD_TYPE, key)


def read_order(envelope: bytes, authority: Authority) -> Order:
    """The order in an envelope from anywhere; raises HoldError(E-HOLD-003) unless who signed it may give it."""
    if len(envelope) > MAX_BYTES:
        raise refused(f"it has more than {MAX_BYTES} bytes")
    try:
        payload = unsealed(envelope, PAYLOAD_TYPE, [*authority.stop, *authority.resume])
        order = order_from_json(strict_json(payload))
        if not isinstance(order, Stop):
            unsealed(envelope, PAYLOAD_TYPE, authority.resume)
    except UnsignedError as error:
        raise refused(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise refused("it is no JSON") from error
    return order


def read_key(path: Path) -> Ed25519PrivateKey:
    """An operator's key; raises HoldError(E-HOLD-003) when the file is none."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise refused(f"{path} is no key of an operator") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise refused(f"{path} is no Ed25519 key")
    return key


def _public_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    if not path.exists():
        return ()
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise refused(f"{path} is no public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise refused(f"{path} is no Ed25519 key")
    return (key,)


def refused(cause: str) -> HoldError:
    """E-HOLD-003."""
    return HoldError(
        Code.HOLD_ORDER, f"the order is not believed: {cause}", "sign it with the key of an operator who may give it"
    )
