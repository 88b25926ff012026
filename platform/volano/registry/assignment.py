"""The second agreement: which released policy a robot runs now, signed by a director, as one pure judgement.

A release says that a policy may run somewhere, an assignment that it runs here. A robot, or the gateway that acts for
one whose protocol knows nothing of this, accepts answers of a policy only if both agree; a replica loads it only then.
Counters go up with every assignment, so that no older one is believed again; going back to an older release is an
assignment that says so.
"""

import json
import re
from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from volano.data.text import strict_object
from volano.errors import Code, PolicyError
from volano.registry.metadata import Releases, older
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.envelope import UnsignedError, sealed, unsealed

PAYLOAD_TYPE = "application/vnd.volano.policy-assignment.v1+json"
MAX_BYTES = 8192
"""Largest assignment that is read."""
_POLICY, _NONCE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """One assignment, as it is signed."""

    subject: str
    """A robot's name, or `@` and a policy's digest for all replicas of that policy."""
    contract: str
    """Fingerprint of the robot's embodiment; empty for replicas, which serve several."""
    policy: str
    """Digest."""
    number: int
    """Of its release."""
    counter: int
    """1 for the subject's first assignment, greater with each."""
    rollback: bool
    """It, or one before it, goes back to an older release, on purpose: who receives it may have missed that one."""
    nonce: str
    """What the robot's report has to repeat."""
    issued_at: float
    """Unix time in seconds."""
    until: float
    """From then on it counts no more."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What a subject accepted last: kept on its disk before the policy is used."""

    counter: int
    number: int
    sha256: str
    """Of the assignment."""
    policy: str


def replicas_of(policy: str) -> str:
    """The subject that stands for a policy's replicas; no robot can be called so."""
    return f"@{policy}"


def sign_assignment(assigned: Assigned, key: Ed25519PrivateKey) -> bytes:
    """Its envelope."""
    return sealed(canonical_json(asdict(assigned)), PAYLOAD_TYPE, key)


def judge(
    envelope: bytes, releases: Releases, last: Accepted | None, *, subject: str, contract: str, now: float
) -> Assigned:
    """Accept an assignment for a subject of that contract, after what it accepted last.

    Raises PolicyError: E-POLICY-001 for what is no assignment, E-POLICY-003 when no director signed it, E-POLICY-008
    when it is for another subject or contract or disagrees with its release, E-POLICY-005 when it expired, E-POLICY-007
    when its policy is not released, E-POLICY-004 when an older one is shown again, or an older release without a
    rollback.
    """
    assigned = read_assignment(envelope, releases)
    if assigned.subject != subject:
        raise refused(f"it is for {assigned.subject[:40]!r}")
    if assigned.contract != contract:
        raise refused(f"it is for the contract {assigned.contract[:12]!r}")
    if now >= assigned.until:
        raise PolicyError(
            Code.POLICY_EXPIRED,
            f"the assignment of {subject[:40]} expired",
            "ask the gateway for a new one, and compare the clocks",
        )
    release = releases.of(assigned.policy)
    if release.number != assigned.number:
        raise refused("it names another release of its policy")
    if contract and contract not in release.embodiments.values():
        raise refused(f"its policy does not serve the contract {contract[:12]}")
    if last is not None:
        _check_after(assigned, envelope, last)
    return assigned


def read_assignment(envelope: bytes, releases: Releases) -> Assigned:
    """What a director signed, whoever it is for. Raises PolicyError(E-POLICY-001) and (E-POLICY-003)."""
    if len(envelope) > MAX_BYTES:
        raise malformed(f"it has more than {MAX_BYTES} bytes")
    try:
        return _parsed(unsealed(envelope, PAYLOAD_TYPE, releases.directors))
    except UnsignedError as error:
        raise PolicyError(
            Code.POLICY_SIGNATURE, f"the assignment is refused: {error}", "look who assigns in a director's place"
        ) from error
    except (ValueError, TypeError) as error:
        raise malformed(str(error)) from error


def accepted(assigned: Assigned, envelope: bytes) -> Accepted:
    """What is kept of an assignment that was accepted."""
    return Accepted(
        counter=assigned.counter, number=assigned.number, sha256=_identity(envelope), policy=assigned.policy
    )


def _check_after(assigned: Assigned, envelope: bytes, last: Accepted) -> None:
    if assigned.counter < last.counter:
        raise older(f"assignment {assigned.counter} of {assigned.subject[:40]} after {last.counter}")
    if assigned.counter == last.counter and _identity(envelope) != last.sha256:
        raise older(f"there are two assignments {assigned.counter} of {assigned.subject[:40]}")
    if assigned.number < last.number and not assigned.rollback:
        raise older(f"release {assigned.number} after {last.number}, and the assignment is no rollback")


def _identity(envelope: bytes) -> str:
    """By what is signed: a signature can be written in more than one way."""
    return sha256_bytes(str(json.loads(envelope)["payload"]).encode())


def _parsed(payload: bytes) -> Assigned:
    found = Assigned(**strict_object(payload))
    texts, counts = (found.subject, found.contract, found.policy, found.nonce), (found.number, found.counter)
    if not all(isinstance(text, str) for text in texts) or not all(type(count) is int for count in counts):
        raise TypeError("a field has another type")
    if type(found.rollback) is not bool or type(found.until) is not float or type(found.issued_at) is not float:
        raise TypeError("a field has another type")
    if not _POLICY.fullmatch(found.policy) or not _NONCE.fullmatch(found.nonce) or found.counter < 1:
        raise ValueError("a field has another form")
    return found


def refused(cause: str) -> PolicyError:
    """E-POLICY-008."""
    return PolicyError(
        Code.POLICY_ASSIGNMENT, f"the assignment is refused: {cause}", "look who assigns, and how the robot is enrolled"
    )


def malformed(cause: str) -> PolicyError:
    """E-POLICY-001."""
    return PolicyError(Code.POLICY_FORMAT, f"the assignment is refused: {cause}", "ask the gateway for another")
