"""A platform's signing keys, one file each, and the root that says which of them count for what.

| file | signs | stands |
| --- | --- | --- |
| `root.key`, or `root-1.key` to `root-N.key` | roots: who may sign what | offline, each with another person |
| `release.key` | which policies are released | with who releases; offline between releases |
| `online.key` | that this is still the newest state, for 24 h | on the platform |
| `director.key` | assignments of policies to robots, checkpoints of the audit | on the platform |

`open_keys` makes a whole set on first use, for a platform on one machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Key, Metadata, Role, Root, Snapshot, Targets, Timestamp

from volano.errors import Code, ConfigError, PolicyError
from volano.registry.metadata import DIRECTORS
from volano.registry.signing import generate, load_private_key
from volano.registry.trust import ANCHOR, STATE, Trust
from volano.storage.files import write_once

RELEASE, ONLINE, DIRECTOR = "release", "online", "director"
ROLES = (RELEASE, ONLINE, DIRECTOR)
SIGNED_BY = {Targets.type: RELEASE, Snapshot.type: ONLINE, Timestamp.type: ONLINE}
"""Role of TUF's to the key that signs for it; `root` has keys of its own."""
ROOT_S, TARGETS_S, ONLINE_S = 2 * 365 * 86400.0, 365 * 86400.0, 86400.0
"""How long a root, a list of releases, and the online signatures count, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A folder with some of the keys: those that are not here stand elsewhere, offline."""

    folder: Path

    @property
    def anchor(self) -> Path:
        """The root that is brought to whoever must trust this platform."""
        return self.folder / ANCHOR

    @property
    def trust(self) -> Trust:
        """What whoever signs with these keys believes."""
        return Trust(anchor=self.anchor, state=self.folder / STATE)

    def has(self, role: str) -> bool:
        """Whether the role's key is here."""
        return self._path(role).is_file()

    def key(self, role: str) -> Ed25519PrivateKey:
        """The key of a role; raises PolicyError(E-POLICY-009) when it is not here, E-POLICY-003 when it is no key."""
        if not self.has(role):
            raise missing(f"{self._path(role)} is not here", f"run this where the {role} key is kept")
        return load_private_key(self._path(role))

    def _path(self, role: str) -> Path:
        return self.folder / f"{role}.key"


def open_keys(folder: Path, now: float) -> Keys:
    """The keys of a folder, a whole set made on first use; of several that start at once, all get the same."""
    if not (folder / ANCHOR).exists():
        make_keys(folder, now)
    return Keys(folder=folder)


def make_keys(folder: Path, now: float, *, roots: int = 1, threshold: int = 1) -> Keys:
    """Make every key that is not there yet, and the first root, which `threshold` of `roots` root keys will have to
    sign the next one of. Raises ConfigError(E-CONFIG-003) for a threshold out of range."""
    if not 1 <= threshold <= roots <= 16:
        raise ConfigError(
            Code.CONFIG_VALUE, f"{threshold} of {roots} root keys cannot be asked for", "ask for 1 to N of N <= 16"
        )
    names = [root_name(number, roots) for number in range(1, roots + 1)]
    signers = [generate(folder, f"{name}.key", f"{name}.pub") for name in names]
    held = {role: generate(folder, f"{role}.key", f"{role}.pub").public_key() for role in ROLES}
    root = root_of(1, [key.public_key() for key in signers], threshold, held, now)
    write_once(folder / ANCHOR, signed(root, signers), 0o644)
    return Keys(folder=folder)


def root_name(number: int, roots: int) -> str:
    """The name of a root key among so many."""
    return "root" if roots == 1 else f"root-{number}"


def root_of(
    version: int,
    root_keys: Iterable[Ed25519PublicKey],
    threshold: int,
    held: dict[str, Ed25519PublicKey],
    now: float,
) -> Root:
    """A root that names these keys: `held` by the names in `ROLES`."""
    named: dict[str, Key] = {SSlibKey.from_crypto(key).keyid: SSlibKey.from_crypto(key) for key in root_keys}
    roles = {Root.type: Role(sorted(named), threshold)}
    for role, holder in SIGNED_BY.items():
        key = SSlibKey.from_crypto(held[holder])
        named[key.keyid] = key
        roles[role] = Role([key.keyid], 1)
    fields = {DIRECTORS: [held[DIRECTOR].public_bytes_raw().hex()]}
    end = at(now + ROOT_S)
    return Root(version=version, expires=end, keys=named, roles=roles, unrecognized_fields=fields)


def signed(document: Root | Targets | Snapshot | Timestamp, keys: Iterable[Ed25519PrivateKey]) -> bytes:
    """A document with the signatures of these keys."""
    envelope: Metadata[Any] = Metadata(document)
    for key in keys:
        envelope.sign(CryptoSigner(key), append=True)
    return envelope.to_bytes()


def at(moment: float) -> datetime:
    """Unix seconds as TUF writes times."""
    return datetime.fromtimestamp(int(moment), UTC)


def missing(cause: str, fix: str) -> PolicyError:
    """E-POLICY-009."""
    return PolicyError(Code.POLICY_KEYS, cause, fix)
