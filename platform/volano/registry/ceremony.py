"""The root's ceremony: exchange a key for a new one, by a root that enough of the offline root keys sign.

A draft of the next root is a file that goes from one holder of a root key to the next; whoever brings the last
signature publishes it. Around the moment at which the new root appears, lists of releases carry the signatures of the
old and the new key, so that those who have not seen it yet, and those who have, both believe them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from volano.errors import Code, ConfigError, PolicyError
from volano.registry.keys import DIRECTOR, ONLINE, RELEASE, ROLES, ROOT_S, SIGNED_BY, Keys, at, missing
from volano.registry.metadata import DIRECTORS, directors_of, malformed, versions
from volano.registry.repository import resign
from volano.registry.signing import generate, load_private_key, load_public_key
from volano.registry.trust import Trust, paper_key, read_root, read_roots
from volano.storage.files import sync_folder
from volano.storage.store import ObjectStore

_ROOT_KEY = re.compile(r"root(-[0-9]+)?")


def newest_root(store: ObjectStore, trust: Trust) -> Root:
    """The root that counts now, of those that follow from what is trusted here. Raises PolicyError like `verify`."""
    *_, newest = roots_since(store, trust.trusted().root)
    return newest


def directors_since(store: ObjectStore, anchor: bytes) -> tuple[Ed25519PublicKey, ...]:
    """The directors' keys of a root and all that follow it: who may have signed checkpoints of the audit since."""
    found = {key.public_bytes_raw(): key for root in roots_since(store, anchor) for key in directors_of(root)}
    return tuple(found.values())


def roots_since(store: ObjectStore, paper: bytes) -> Iterator[Root]:
    """A root that is trusted, and those that follow from it one after another. Raises PolicyError(E-POLICY-001) for one
    that does not."""
    root = Metadata[Root].from_bytes(paper).signed
    yield root
    for paper in read_roots(store, root.version):
        following = Metadata[Root].from_bytes(paper)
        try:
            root.verify_delegate(Root.type, following.signed_bytes, following.signatures)
            following.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
        except RepositoryError as error:
            raise malformed(f"root {following.signed.version} does not follow: {error}") from error
        root = following.signed
        yield root


def draft(root: Root, role: str, keys: Keys, now: float) -> bytes:
    """The next root, unsigned, in which a new key stands for `role`, one of `ROLES` or a root key by its file's name;
    it is made beside the old one, as `ROLE-new-VERSION.key`. Raises ConfigError(E-CONFIG-003) for another role,
    PolicyError(E-POLICY-003) for a root key whose public half is not here."""
    if role not in ROLES and not _ROOT_KEY.fullmatch(role):
        raise ConfigError(
            Code.CONFIG_VALUE, f"{role!r} has no key to exchange", f"name one of {', '.join(ROLES)}, root or root-N"
        )
    replaced: dict[str, list[str]] = {
        one: root.roles[one].keyids for one, holder in SIGNED_BY.items() if holder == role
    }
    if role not in ROLES:
        old = SSlibKey.from_crypto(load_public_key(keys.folder / f"{role}.pub"))
        replaced = {Root.type: [old.keyid]}
    name = new_name(role, root.version + 1)
    key = generate(keys.folder, f"{name}.key", f"{name}.pub").public_key()
    root.version, root.expires = root.version + 1, at(now + ROOT_S)
    if role == DIRECTOR:
        root.unrecognized_fields[DIRECTORS] = [key.public_bytes_raw().hex()]
    for one, outdated in replaced.items():
        for keyid in list(outdated):
            root.revoke_key(keyid, one)
        root.add_key(SSlibKey.from_crypto(key), one)
    return Metadata(root).to_bytes()


def new_name(role: str, version: int) -> str:
    """What a key is called until it takes its role's place."""
    return f"{role}-new-{version}"


def add_signature(paper: bytes, key: Ed25519PrivateKey) -> bytes:
    """The draft with one more signature."""
    envelope = Metadata[Root].from_bytes(paper)
    envelope.sign(CryptoSigner(key), append=True)
    return envelope.to_bytes()


def missing_signatures(before: Root, paper: bytes) -> int:
    """How many root keys have still to sign a draft."""
    envelope = Metadata[Root].from_bytes(paper)
    results = (
        one.get_verification_result(Root.type, envelope.signed_bytes, envelope.signatures)
        for one in (before, envelope.signed)
    )
    return max(result.missing for result in results)


def publish_root(store: ObjectStore, keys: Keys, trust: Trust, paper: bytes, now: float) -> None:
    """Let a draft that enough keys signed count from now on, and let its new key take the role's place in the folder.
    Safe to repeat. Raises PolicyError(E-POLICY-009) while signatures are missing, when a key is not here, or when
    another draft was published under its number."""
    before, (version, _) = newest_root(store, trust), versions(paper)
    drafted = Metadata[Root].from_bytes(paper).signed
    if before.version < version:
        _require_enough(before, paper, version)
        if all(keys.has(role) for role in (RELEASE, ONLINE)):
            held = {role: _newest_keys(keys, role, drafted) for role in (RELEASE, ONLINE)}
            resign(store, trust, held[RELEASE], held[ONLINE], now)
        store.put_new(paper_key(Root.type, version), paper)
    _require_published(store, drafted)
    try:
        trust.look(store, now)
    except PolicyError as error:
        if error.code is not Code.POLICY_SIGNATURE:
            raise
        # The old key was lost, so that nobody could sign with both: what stands there is believed by the root before.
        held = {role: _newest_keys(keys, role, drafted)[-1:] for role in (RELEASE, ONLINE)}
        resign(store, trust, held[RELEASE], held[ONLINE], now, by_root_before=True)
        trust.look(store, now)
    newest = newest_root(store, trust)
    for new in keys.folder.glob(new_name("*", version) + ".key"):
        if _names(newest, load_private_key(new)):
            _take_place(new, version)


def _require_enough(before: Root, paper: bytes, version: int) -> None:
    if before.version + 1 != version:
        raise missing(f"the draft of root {version} does not follow root {before.version}", "draft it anew")
    if lacking := missing_signatures(before, paper):
        raise missing(
            f"{lacking} root keys have still to sign root {version}", "volano policy keys sign DRAFT --key FILE"
        )


def _require_published(store: ObjectStore, drafted: Root) -> None:
    if Metadata[Root].from_bytes(read_root(store, drafted.version).root).signed != drafted:
        raise missing(f"another root {drafted.version} was published", "draft it anew")


def _newest_keys(keys: Keys, role: str, drafted: Root) -> list[Ed25519PrivateKey]:
    """The role's key of before, if it is here, and the one that takes its place by this root, if it has one."""
    held = [keys.key(role)] if keys.has(role) else []
    name = new_name(role, drafted.version)
    if keys.has(name) and _names(drafted, new := keys.key(name)):
        held.append(new)
    return held


def _names(root: Root, key: Ed25519PrivateKey) -> bool:
    """Whether a key counts for anything by a root."""
    public = key.public_key()
    return SSlibKey.from_crypto(public).keyid in root.keys or public in directors_of(root)


def _take_place(new: Path, version: int) -> None:
    """From now on the new key has the role's name."""
    for suffix in (".pub", ".key"):
        if (half := new.with_suffix(suffix)).exists():  # killed between the two, this is repeated
            half.replace(new.with_name(f"{new.stem.removesuffix(new_name('', version))}{suffix}"))
    sync_folder(new.parent)
