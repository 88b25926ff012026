"""What a gateway lets run, and where: it believes releases, directs who runs what, and is the agent of its robots.

A robot of a stock protocol cannot check who vouches for what it executes, so the gateway does it in its place: no
policy answers a robot without a release and an assignment that agree, both unexpired and neither older than what was
accepted before, in whatever process. With the online key on this machine it also signs, twice a day, that what is
released is the newest. The journal of what was accepted is `serving/accepted/`. It also signs checkpoints of the audit
log. Threads may share it.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from volano.errors import VolanoError
from volano.ledger.checkpoints import Checkpoints
from volano.ledger.ledger import Ledger
from volano.registry import repository
from volano.registry.agent import Agent
from volano.registry.assignment import Assigned, read_assignment, replicas_of
from volano.registry.ceremony import directors_since
from volano.registry.director import Director
from volano.registry.keys import DIRECTOR, ONLINE, Keys
from volano.registry.metadata import Releases
from volano.registry.trust import STATE, Trust, trusted_to_json
from volano.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
_LOOK_S = 30.0
"""From one look at what is released to the next; a policy that is not known is looked for at once."""


@dataclass(frozen=True, kw_only=True)
class Permit:
    """What a replica goes on from when it checks by itself what it may load."""

    trusted: str
    counter: int


class Permits:
    """One gateway's."""

    def __init__(
        self, store: ObjectStore, keys: Keys, anchor: Path, folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        """`anchor` is the root that a person brought, `folder` is where this gateway remembers what it accepted,
        `clock` gives Unix time in seconds. Raises PolicyError(E-POLICY-009) without the director's key or an anchor."""
        self._store, self._keys, self._clock = store, keys, clock
        self._anchor = anchor
        self._checkpoints: Checkpoints | None = None
        self._trust = Trust(anchor=anchor, state=folder / STATE)
        self._trust.trusted()
        self._director = Director(store, keys.key(DIRECTOR), lambda: secrets.token_hex(16))
        self._agent = Agent(folder / "accepted")
        self._releases: Releases | None = None
        self._looked = float("-inf")
        self._looking = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        """By subject: directing one waits for no other, nor for a look at what is released."""

    def look(self) -> None:
        """Learn what is released, if that was not done lately. Raises PolicyError and StorageError: then what was known
        counts until it expires."""
        if self._clock() - self._looked >= _LOOK_S:
            self._look()

    def replicas(self, policy: str) -> Permit:
        """That a policy may be loaded: assigned to its replicas. Raises PolicyError when it may not, with E-POLICY-007
        when it is not released (any more)."""
        subject = replicas_of(policy)
        with self._turn(subject):
            now, releases = self._clock(), self._known(policy)
            envelope = self._director.assign(releases, policy, subject=subject, contract="", now=now)
            counter = read_assignment(envelope, releases).counter
            return Permit(trusted=trusted_to_json(releases.trusted), counter=counter)

    def robot(self, robot: str, contract: str, policy: str) -> Assigned:
        """That a robot may execute a policy's answers: assigned by the director, and accepted by its agent. Raises
        PolicyError when it may not."""
        with self._turn(robot):
            now, releases = self._clock(), self._known(policy)
            envelope = self._director.assign(releases, policy, subject=robot, contract=contract, now=now)
            return self._agent.accept(envelope, releases, subject=robot, contract=contract, now=now)

    def checkpoint(self, ledger: Ledger) -> None:
        """Sign what stands in the audit log, if that is due. Raises LedgerError when it is not what was signed."""
        if self._checkpoints is None:
            trusted = directors_since(self._store, self._anchor.read_bytes())
            self._checkpoints = Checkpoints(self._store, self._keys.key(DIRECTOR), trusted)
        self._checkpoints.advance(ledger, self._clock())

    def _turn(self, subject: str) -> threading.Lock:
        return self._turns.setdefault(subject, threading.Lock())

    def _known(self, policy: str) -> Releases:
        now, known = self._clock(), self._releases
        if known is None or now >= known.until or policy not in known.by_policy:
            known = self._look()
        return known

    def _look(self) -> Releases:
        """One at a time, so that what is known is never replaced by something older."""
        with self._looking:
            self._looked = now = self._clock()
            if self._keys.has(ONLINE):
                try:
                    repository.renew(self._store, self._keys, self._trust, now)
                except VolanoError as error:
                    _LOG.warning("what is released is not signed anew: %s", error)
            self._releases = self._trust.look(self._store, now)
            return self._releases
