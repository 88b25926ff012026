"""The director: signs which released policy runs where, one assignment after another for each subject.

An assignment's counter is the key it is put under, so that of any number of directors one makes each; what they said
stays in the store. The newest is given again until it is half over or the policy changes. Safe to kill anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from volano.errors import PolicyError, StorageError
from volano.registry.assignment import MAX_BYTES, Assigned, malformed, read_assignment, sign_assignment
from volano.registry.keys import missing
from volano.registry.metadata import Release, Releases
from volano.registry.trust import highest
from volano.storage.envelope import key_id
from volano.storage.store import ObjectStore

ASSIGNED_S = 86400.0
"""How long an assignment counts."""
_PREFIX = "assignments/"
_ATTEMPTS = 20
_HIGHEST = 1 << 62
"""The number of a release that is not known any more: every one after it is a rollback."""


@dataclass(frozen=True, kw_only=True)
class _Newest:
    envelope: bytes
    counter: int
    number: int
    assigned: Assigned | None
    """None when a director signed it whose key was exchanged since: then it is only counted on from."""


class Director:
    """Signs with one key; threads may share it if they take turns for one subject."""

    def __init__(self, store: ObjectStore, key: Ed25519PrivateKey, nonce: Callable[[], str]) -> None:
        """`nonce` gives 32 hex digits that nobody can guess."""
        self._store = store
        self._key = key
        self._nonce = nonce
        self._newest: dict[str, _Newest] = {}

    def assign(self, releases: Releases, policy: str, *, subject: str, contract: str, now: float) -> bytes:
        """The assignment of a released policy to a subject of that contract, at `now` in Unix seconds. Raises
        PolicyError: E-POLICY-007 for a policy that is not released, E-POLICY-009 when the root does not name this
        director's key, and what reading a foreign assignment raises."""
        release = releases.of(policy)
        if key_id(self._key.public_key()) not in {key_id(key) for key in releases.directors}:
            raise missing("the director key here was exchanged for another", "use the newest key")
        for _ in range(_ATTEMPTS):
            newest = self._last_said(releases, subject)
            if newest is not None and _holds(newest.assigned, release, contract, now):
                return newest.envelope
            made = self._following(newest, release, subject, contract, now)
            if self._store.put_new(_key(subject, made.counter), made.envelope):
                self._newest[subject] = made
                return made.envelope
            self._newest.pop(subject, None)
        raise missing(f"others assign to {subject[:40]} without pause", "look how many gateways there are")

    def _following(self, newest: _Newest | None, release: Release, subject: str, contract: str, now: float) -> _Newest:
        assigned = Assigned(
            subject=subject,
            contract=contract,
            policy=release.policy,
            number=release.number,
            counter=newest.counter + 1 if newest else 1,
            rollback=newest is not None and _goes_back(newest, release),
            nonce=self._nonce(),
            issued_at=float(now),
            until=float(now + ASSIGNED_S),
        )
        return _Newest(
            envelope=sign_assignment(assigned, self._key),
            counter=assigned.counter,
            number=assigned.number,
            assigned=assigned,
        )

    def _last_said(self, releases: Releases, subject: str) -> _Newest | None:
        """What this director said last, unless another one has said more since. A store that does not answer leaves it
        with what it said: until that is half over, robots need no store."""
        known = self._newest.get(subject)
        if known is None:
            return self._find(releases, subject, 0)
        try:
            superseded = self._store.exists(_key(subject, known.counter + 1))
        except StorageError:
            return known
        return self._find(releases, subject, known.counter) if superseded else known

    def _find(self, releases: Releases, subject: str, after: int) -> _Newest | None:
        """What was said last, by a director or by whoever wrote it there: of the latter nothing is given again."""
        found = _last(self._store, subject, after)
        if found is None:
            return None
        counter, envelope = found
        try:
            assigned = read_assignment(envelope, releases)
        except PolicyError:
            return _Newest(envelope=envelope, counter=counter, number=_HIGHEST, assigned=None)
        if (assigned.subject, assigned.counter) != (subject, counter):
            raise malformed(f"assignment {counter} of {subject[:40]} is another's")
        return _Newest(envelope=envelope, counter=counter, number=assigned.number, assigned=assigned)


def _holds(assigned: Assigned | None, release: Release, contract: str, now: float) -> bool:
    """Whether an assignment says this, and is not half over."""
    if assigned is None or now >= assigned.until - ASSIGNED_S / 2:
        return False
    return (assigned.policy, assigned.number, assigned.contract) == (release.policy, release.number, contract)


def _goes_back(newest: _Newest, release: Release) -> bool:
    """Whether a release is older than what was assigned before. Once said it stays: whoever did not see the assignment
    that said it first must not refuse those after it."""
    return release.number < newest.number or (newest.assigned is not None and newest.assigned.rollback)


def newest_assignment(store: ObjectStore, subject: str, after: int = 0) -> bytes | None:
    """What a store holds as the newest assignment of a subject, looked for from a counter that was there; nobody
    verified it. Raises PolicyError(E-POLICY-001) when it is too large."""
    found = _last(store, subject, after)
    return found[1] if found else None


def _last(store: ObjectStore, subject: str, after: int = 0) -> tuple[int, bytes] | None:
    counter = highest(lambda number: store.exists(_key(subject, number)), after, "assignments")
    if counter == 0:
        return None
    key = _key(subject, counter)
    if (size := store.size(key)) is None or size > MAX_BYTES:
        raise malformed(f"{key} has {size} bytes")
    return counter, store.get(key)


def _key(subject: str, counter: int) -> str:
    return f"{_PREFIX}{subject}/{counter:010d}.json"
