"""Which policies are released now: TUF metadata (The Update Framework), checked as one pure function.

`verify(papers, trusted, now)` is the client workflow of the TUF specification as `tuf` implements it, over bytes: roots
one after another, each signed by the one before; then timestamp, snapshot and targets, none older than what was trusted
before, none expired, all of them belonging together. What it returns says what to trust from now on; whoever keeps that
through restarts cannot be led back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api.exceptions import (
    BadVersionNumberError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from volano.errors import Code, PolicyError

DIRECTORS = "x-volano-directors"
"""Field of the root, beside TUF's roles: raw public keys in hex, each of which may assign policies and sign
checkpoints of the audit log."""
MAX_PAPER_BYTES = {Root.type: 512_000, Timestamp.type: 16_384, Snapshot.type: 65_536, Targets.type: 8_000_000}
MAX_ROOTS = 64
"""Roots that are followed at a time."""
_TARGET = re.compile(r"policies/([0-9a-f]{64})/manifest\.json")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Papers:
    """What a store says is released: bytes that nobody believes yet."""

    roots: tuple[bytes, ...] = ()
    """Those after the trusted one, oldest first."""
    timestamp: bytes
    snapshot: bytes
    targets: bytes


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What was believed before; only what is newer is believed after it."""

    root: bytes
    """The newest root; at first the one that a person brought."""
    timestamp: bytes = b""
    snapshot: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A policy that the release keys vouch for."""

    policy: str
    """Digest."""
    size: int
    """Bytes of its manifest."""
    number: int
    """Greater than that of every release before it."""
    embodiments: Mapping[str, str]
    """Tag to fingerprint of every contract that it serves."""


@dataclass(frozen=True, kw_only=True)
class Releases:
    """What was verified."""

    trusted: Trusted
    """To be kept before anything here is used."""
    by_policy: Mapping[str, Release]
    directors: tuple[Ed25519PublicKey, ...]
    until: float
    """Unix time in seconds at which the first of the papers expires."""

    def of(self, policy: str) -> Release:
        """The release of a digest; raises PolicyError(E-POLICY-007) when there is none."""
        if policy not in self.by_policy:
            raise unreleased(policy)
        return self.by_policy[policy]


def verify(papers: Papers, trusted: Trusted, now: float) -> Releases:
    """Believe papers, at `now` in Unix seconds, after what was trusted before.

    Raises PolicyError: E-POLICY-001 for bytes that are no metadata or too many, E-POLICY-003 without enough signatures,
    E-POLICY-004 for what is older than trusted, E-POLICY-005 for what expired, E-POLICY-006 for papers that do not
    belong together.
    """
    _check_sizes(papers)
    try:
        known = TrustedMetadataSet(trusted.root, EnvelopeType.METADATA)
        known.reference_time = datetime.fromtimestamp(now, UTC)
        for root in papers.roots:
            known.update_root(root)
        timestamp = _newer_timestamp(known, trusted.timestamp, papers.timestamp)
        snapshot = _newer_snapshot(known, trusted.snapshot, papers.snapshot)
        root = papers.roots[-1] if papers.roots else trusted.root
        return _believed(known, papers.targets, Trusted(root=root, timestamp=timestamp, snapshot=snapshot))
    except RepositoryError as error:
        raise refusal(error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(str(error)) from error


def versions(paper: bytes) -> tuple[int, int]:
    """The version of a paper, and that of the one it names (0 for none): where to look, before anything is believed.
    Raises PolicyError(E-POLICY-001) for bytes that are no metadata."""
    try:
        signed = Metadata[Any].from_bytes(paper).signed
        named = 0
        if isinstance(signed, Timestamp):
            named = signed.snapshot_meta.version
        elif isinstance(signed, Snapshot):
            named = signed.meta[f"{Targets.type}.json"].version
        found = int(signed.version), int(named)
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(str(error)) from error
    return found


def target_of(policy: str) -> str:
    """The name of a policy among TUF's targets: the key of its manifest."""
    return f"policies/{policy}/manifest.json"


def directors_of(root: Root) -> tuple[Ed25519PublicKey, ...]:
    """Who may assign, by the root; raises ValueError or TypeError when it does not say so in its form."""
    listed = root.unrecognized_fields.get(DIRECTORS, [])
    if not isinstance(listed, list) or not all(isinstance(key, str) and _HEX.fullmatch(key) for key in listed):
        raise ValueError("the root does not name its directors")
    return tuple(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in listed)


def release_of(path: str, target: TargetFile) -> Release:
    """A target as a release; raises ValueError or TypeError when it is none."""
    match, custom = _TARGET.fullmatch(path), target.custom
    if match is None or target.hashes.get("sha256") != match[1]:
        raise ValueError(f"the target {path!r} is no policy")
    if not isinstance(custom, dict) or custom.keys() != {"number", "embodiments"}:
        raise ValueError(f"the target {path!r} says too little or too much")
    number, table = custom["number"], custom["embodiments"]
    if type(number) is not int or not isinstance(table, dict) or not table:
        raise TypeError(f"the target {path!r} has no number or contract")
    if not all(isinstance(mark, str) and _HEX.fullmatch(mark) for mark in table.values()):
        raise ValueError(f"a contract of the target {path!r} is no fingerprint")
    return Release(policy=match[1], size=target.length, number=number, embodiments=dict(table))


def _check_sizes(papers: Papers) -> None:
    named = [(Root.type, root) for root in papers.roots]
    named += [(Timestamp.type, papers.timestamp), (Snapshot.type, papers.snapshot), (Targets.type, papers.targets)]
    for role, paper in named:
        if len(paper) > MAX_PAPER_BYTES[role]:
            raise endless(role)
    if len(papers.roots) > MAX_ROOTS:
        raise endless(Root.type)


def _newer_timestamp(known: TrustedMetadataSet, before: bytes, found: bytes) -> bytes:
    """Load what was trusted, so that what is older is refused, then what was found."""
    if before and not _loaded(known.update_timestamp, before):
        before = b""
    try:
        known.update_timestamp(found)
    except EqualVersionNumberError:
        known._check_final_timestamp()  # the one that was trusted stays, and must not have expired meanwhile
        return before
    return found


def _newer_snapshot(known: TrustedMetadataSet, before: bytes, found: bytes) -> bytes:
    if before:
        _loaded(lambda data: known.update_snapshot(data, trusted=True), before)
    known.update_snapshot(found)
    return found


def _loaded(load: Any, before: bytes) -> bool:
    """Whether the rules still hold on to a paper of before: one that expired does, one of an exchanged key does not."""
    try:
        load(before)
    except (ExpiredMetadataError, BadVersionNumberError):
        return True
    except RepositoryError:
        return False
    return True


def _believed(known: TrustedMetadataSet, paper: bytes, trusted: Trusted) -> Releases:
    try:
        targets = known.update_targets(paper)
    except BadVersionNumberError as error:
        raise mixed(str(error)) from error
    found = [release_of(path, target) for path, target in targets.targets.items()]
    ends = [known.root.expires, known.timestamp.expires, known.snapshot.expires, targets.expires]
    return Releases(
        trusted=trusted,
        by_policy={release.policy: release for release in found},
        directors=directors_of(known.root),
        until=min(end.timestamp() for end in ends),
    )


def refusal(error: RepositoryError) -> PolicyError:
    """What `tuf` refused, by our codes."""
    text = str(error) or type(error).__name__
    if isinstance(error, UnsignedMetadataError):
        return PolicyError(
            Code.POLICY_SIGNATURE, f"too few trusted keys signed: {text}", "bring the root of whom you trust"
        )
    if isinstance(error, ExpiredMetadataError):
        fix = "let the gateway or `volano policy renew` sign anew; if it did, look who keeps that from being read"
        if Targets.type in text:
            fix = "the release key signs the list anew: volano policy release FOLDER, of any policy that is released"
        return PolicyError(Code.POLICY_EXPIRED, f"what is released is not known any more: {text}", fix)
    if isinstance(error, BadVersionNumberError):
        return older(text)
    if isinstance(error, LengthOrHashMismatchError):
        return mixed(text)
    return malformed(text) if isinstance(error, DeserializationError) else mixed(text)


def malformed(cause: str) -> PolicyError:
    """E-POLICY-001."""
    return PolicyError(Code.POLICY_FORMAT, f"release metadata are refused: {cause[:200]}", "publish them again")


def endless(role: str) -> PolicyError:
    """E-POLICY-001."""
    return malformed(f"there is more of {role} than is ever read")


def older(cause: str) -> PolicyError:
    """E-POLICY-004."""
    return PolicyError(
        Code.POLICY_OLDER, f"this is older than what was accepted: {cause}", "look who puts back an old state"
    )


def mixed(cause: str) -> PolicyError:
    """E-POLICY-006."""
    return PolicyError(
        Code.POLICY_MIXED, f"release metadata do not belong together: {cause}", "look who changes the store"
    )


def unreleased(policy: str) -> PolicyError:
    """E-POLICY-007."""
    return PolicyError(
        Code.POLICY_UNRELEASED, f"policy {policy[:12]} is not among the releases", "release it: volano policy release"
    )
