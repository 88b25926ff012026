"""The platform's side of releases: it changes what is released, by TUF metadata in the object store.

A change is a new list of releases, a snapshot that names it, and a timestamp that names that, each under a number of
its own; the timestamp's conditional put commits it. A writer that was killed leaves numbers that nothing names; of two
at the same time one begins again from what the other did. What is built on was verified, and is no older than what
this place trusted before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from volano.errors import PolicyError
from volano.registry.keys import ONLINE, ONLINE_S, RELEASE, SIGNED_BY, TARGETS_S, Keys, at, missing, signed
from volano.registry.manifest import Manifest
from volano.registry.metadata import Releases, target_of, unreleased, verify, versions
from volano.registry.trust import Trust, newest_timestamp, paper_key, read_papers
from volano.storage.content import sha256_bytes
from volano.storage.store import ObjectStore

_UNNAMED = 1000
"""Numbers that dead writers may have left."""
_ATTEMPTS = 20
RENEW_S = ONLINE_S / 2
"""Online signatures with less than this to go are made anew."""
ALWAYS = 0.0
"""A time at which nothing has expired: who signs anew builds on what did."""


@dataclass(frozen=True, kw_only=True)
class _Committed:
    """What is released, as a writer builds on it."""

    targets: Targets
    paper: bytes
    """The targets as they stand, signatures included."""
    timestamp: int
    snapshot: int
    root: Root | None = None
    """The newest, which says whose signatures count."""


def begin(store: ObjectStore, keys: Keys, now: float) -> None:
    """Publish a platform's first root and an empty list of releases, unless they are there. Raises
    PolicyError(E-POLICY-009) when the store belongs to another root."""
    anchor = keys.anchor.read_bytes()
    version, _ = versions(anchor)
    if not store.put_new(paper_key(Root.type, version), anchor) and store.get(paper_key(Root.type, version)) != anchor:
        raise missing(
            f"{store.url} belongs to another root than {keys.anchor}",
            "use the keys that this store began with, or another store",
        )
    if newest_timestamp(store) == 0:
        empty = Targets(version=1, expires=at(now + TARGETS_S))
        made = _Committed(targets=empty, paper=b"", timestamp=0, snapshot=0)
        _commit(store, made, _write_targets(store, empty, [keys.key(RELEASE)]), [keys.key(ONLINE)], now)


def release(store: ObjectStore, keys: Keys, trust: Trust, manifest: Manifest, now: float) -> Releases:
    """Add a policy, whose files are in the store, to what is released. Releasing it again changes nothing, but
    for a list that has less than half of its time left: that is signed anew."""

    def added(targets: Targets) -> bool:
        path = target_of(manifest.digest)
        if path in targets.targets:
            return False
        custom = {"number": targets.version, "embodiments": dict(manifest.embodiments)}
        size = len(manifest.to_bytes())
        targets.targets[path] = TargetFile(size, {"sha256": manifest.digest}, path, {"custom": custom})
        return True

    return _change(store, keys, trust, added, now)


def withdraw(store: ObjectStore, keys: Keys, trust: Trust, policy: str, now: float) -> Releases:
    """Take a policy out of what is released: nobody loads it, or accepts its answers, any more. Raises
    PolicyError(E-POLICY-007) when it is not there."""

    def removed(targets: Targets) -> bool:
        if targets.targets.pop(target_of(policy), None) is None:
            raise unreleased(policy)
        return True

    return _change(store, keys, trust, removed, now)


def require_signers(store: ObjectStore, keys: Keys, trust: Trust) -> None:
    """Raise PolicyError(E-POLICY-009) unless the keys that change what is released are here, and count."""
    root = _committed(store, trust).root
    for role in (Targets.type, Timestamp.type):
        _counting(root, keys, role)


def renew(store: ObjectStore, keys: Keys, trust: Trust, now: float, *, within_s: float = RENEW_S) -> bool:
    """Sign anew, with the online key alone, that what is released is the newest, if that would expire within so long;
    whether it did. Raises PolicyError like `Trust.look` when what is there is not what was released."""
    for _ in range(_ATTEMPTS):
        made = _committed(store, trust)
        if _online_end(store, made) - now > within_s:
            return False
        online = _counting(made.root, keys, Timestamp.type)
        if _commit(store, made, (made.targets.version, made.paper), [online], now):
            trust.look(store, now)
            return True
    raise _crowded()


def resign(
    store: ObjectStore,
    trust: Trust,
    release_keys: Sequence[Ed25519PrivateKey],
    online_keys: Sequence[Ed25519PrivateKey],
    now: float,
    *,
    by_root_before: bool = False,
) -> None:
    """Sign all of it anew, by several keys for each role where keys are being exchanged. `by_root_before` builds on
    what only the root before the newest lets believe."""
    for _ in range(_ATTEMPTS):
        made = _committed(store, trust, by_root_before=by_root_before)
        made.targets.expires = at(now + TARGETS_S)
        if _commit(store, made, _write_targets(store, made.targets, release_keys), online_keys, now):
            return
    raise _crowded()


def _change(store: ObjectStore, keys: Keys, trust: Trust, change: Callable[[Targets], bool], now: float) -> Releases:
    """Apply a change to the newest list until it is committed; `change` says whether there was anything to do."""
    for _ in range(_ATTEMPTS):
        made = _committed(store, trust)
        releaser, online = (_counting(made.root, keys, role) for role in (Targets.type, Timestamp.type))
        made.targets.version = _free(store, made.targets.version)
        until, made.targets.expires = made.targets.expires, at(now + TARGETS_S)
        if not change(made.targets) and until.timestamp() - now > TARGETS_S / 2:
            renew(store, keys, trust, now)
            return trust.look(store, now)
        if _commit(store, made, _write_targets(store, made.targets, [releaser]), [online], now):
            return trust.look(store, now)
    raise _crowded()


def _committed(store: ObjectStore, trust: Trust, *, by_root_before: bool = False) -> _Committed:
    """The newest state, verified but for its age."""
    known = trust.trusted()
    papers = read_papers(store, known)
    if by_root_before:
        papers = replace(papers, roots=papers.roots[:-1])
    verify(papers, known, ALWAYS)
    return _Committed(
        targets=Metadata[Targets].from_bytes(papers.targets).signed,
        paper=papers.targets,
        timestamp=versions(papers.timestamp)[0],
        snapshot=versions(papers.snapshot)[0],
        root=Metadata[Root].from_bytes(papers.roots[-1] if papers.roots else known.root).signed,
    )


def _counting(root: Root | None, keys: Keys, role: str) -> Ed25519PrivateKey:
    """The key that signs for a role of TUF's; refused when the newest root does not name it: nobody would believe
    it."""
    held = keys.key(SIGNED_BY[role])
    if root is None or SSlibKey.from_crypto(held.public_key()).keyid not in root.roles[role].keyids:
        raise missing(f"the {SIGNED_BY[role]} key here was exchanged for another", "use the newest key")
    return held


def _online_end(store: ObjectStore, made: _Committed) -> float:
    """When the online signatures expire, in Unix seconds."""
    papers = (paper_key(Timestamp.type, made.timestamp), paper_key(Snapshot.type, made.snapshot))
    return min(Metadata.from_bytes(store.get(key)).signed.expires.timestamp() for key in papers)


def _free(store: ObjectStore, version: int) -> int:
    """The first number after a version under which no list stands."""
    for number in range(version + 1, version + _UNNAMED):
        if not store.exists(paper_key(Targets.type, number)):
            return number
    raise _crowded()


def _write_targets(store: ObjectStore, targets: Targets, keys: Sequence[Ed25519PrivateKey]) -> tuple[int, bytes]:
    """Put a list under the first free number from its own version on."""
    for _ in range(_UNNAMED):
        paper = signed(targets, keys)
        if store.put_new(paper_key(Targets.type, targets.version), paper):
            return targets.version, paper
        targets.version += 1
    raise _crowded()


def _commit(
    store: ObjectStore,
    before: _Committed,
    targets: tuple[int, bytes],
    keys: Sequence[Ed25519PrivateKey],
    now: float,
) -> bool:
    """Name a list by a new snapshot, and that by the timestamp after the one before; False when another was faster."""
    named = {f"{Targets.type}.json": _meta(*targets)}
    snapshot = Snapshot(version=before.snapshot + 1, expires=at(now + ONLINE_S), meta=named)
    for _ in range(_UNNAMED):
        paper = signed(snapshot, keys)
        if store.put_new(paper_key(Snapshot.type, snapshot.version), paper):
            break
        snapshot.version += 1
    else:
        raise _crowded()
    timestamp = Timestamp(
        version=before.timestamp + 1, expires=at(now + ONLINE_S), snapshot_meta=_meta(snapshot.version, paper)
    )
    return store.put_new(paper_key(Timestamp.type, timestamp.version), signed(timestamp, keys))


def _meta(version: int, paper: bytes) -> MetaFile:
    return MetaFile(version, len(paper), {"sha256": sha256_bytes(paper)})


def _crowded() -> PolicyError:
    return missing("others sign in this store without pause, or it is full of unnamed numbers", "try again")
