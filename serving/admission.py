"""Who may come in, for every port of a gateway: sockets by address, keys, and the certificates that go with them.

A key is looked up by threads that do nothing else, so that strangers delay no robot's route. An address that shows one
unknown key after another is answered without a look-up, but for keys that were good before: robots behind the same
address go on. The same unknown key again counts once. Where clients show certificates, the name there and the name of
the key's robot have to be one.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from serving.keys import MAX_KEY, digest_of
from serving.limits import Buckets, Limits, Sockets, site_of
from serving.metrics import Metrics
from serving.tls import Certificate
from volano.errors import Code, ServeError, WireError

_THREADS = 4
_MAX_WAITING = 64
"""Look-ups at a time, beyond which strangers are sent away."""
_MAX_KNOWN = 4096
_BAD_S = 5.0
"""A key that was nobody's is not looked up again so soon."""
_BURST_S = 20.0
Found = TypeVar("Found")


class Named(Protocol):
    """A robot, whatever else is known of it."""

    @property
    def id(self) -> str:
        """Its name."""
        ...


Record = TypeVar("Record", bound=Named, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whoever is at the other end of a socket."""

    address: str
    """As `site_of` counts it."""
    certificate: Certificate | None = None


def caller_at(peer: object, certificate: Certificate | None) -> Caller:
    """Of a socket's peer name, and what was shown there."""
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    return Caller(address=site_of(host), certificate=certificate)


class Admission(Generic[Record]):
    """One for a process; belongs to its loop."""

    def __init__(
        self,
        find: Callable[[str], Record | None],
        *,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        certificates: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`find`: the robot whose key has this SHA-256, None when there is none; called by several threads.
        `certificates`: whoever comes has to have shown one. `clock` gives monotonic seconds, `now` Unix time."""
        self._find = find
        self._metrics = metrics or Metrics()
        self._certificates = certificates
        self._clock = clock
        self._now = now
        chosen = limits or Limits()
        self._failures = Buckets(chosen.failures_per_s, chosen.failures_per_s * _BURST_S)
        self._known: OrderedDict[str, None] = OrderedDict()
        """Digests of keys that were good, the one used longest ago first."""
        self._bad: OrderedDict[str, float] = OrderedDict()
        """Digests of keys that were nobody's, and until when that is believed."""
        self._sockets = Sockets(chosen)
        self._threads = ThreadPoolExecutor(_THREADS, "admission")
        self._waiting = 0

    def enter(self, peer: object, protocol: str) -> bool:
        """Count a socket at its peer's name; False when it has to be closed, and then `leave` is not called for it."""
        if self._sockets.enter(caller_at(peer, None).address):
            self._metrics.connected(protocol, 1)
            return True
        self._metrics.refused(protocol, Code.SERVE_RATE)
        return False

    def leave(self, peer: object, protocol: str) -> None:
        """A socket that was let in is closed."""
        self._sockets.leave(caller_at(peer, None).address)
        self._metrics.connected(protocol, -1)

    async def robot(self, key: str, caller: Caller, protocol: str) -> Record:
        """Whose key it is. Raises WireError(E-WIRE-002) when it is nobody's or the certificate is another's,
        ServeError(E-SERVE-004) when too many unknown keys came from there, and what `find` raises."""
        try:
            return await self._robot(key, caller)
        except (WireError, ServeError) as error:
            self._metrics.refused(protocol, error.code)
            raise

    async def apart(self, work: Callable[[], Found]) -> Found:
        """What a stranger's words say, read by a thread of those that look up keys. Raises ServeError(E-SERVE-004)
        while too many wait for that, and what `work` raises."""
        if self._waiting >= _MAX_WAITING:
            raise _too_often()
        return await self._in_thread(work)

    def fail(self, caller: Caller) -> None:
        """Note that an address failed."""
        self._failures.take(caller.address, self._clock())

    def agree(self, robot: str, certificate: Certificate | None) -> None:
        """Raise WireError(E-WIRE-002) when a robot's certificate is another's, too old by now, or missing."""
        if not self._certificates:
            return
        if certificate is None or certificate.name != robot or certificate.until < self._now():
            raise WireError(
                Code.WIRE_AUTH,
                "the certificate is not this robot's, or has expired",
                "give the robot a certificate whose common name is the name that its key is enrolled for",
            )

    def close(self) -> None:
        """Look nobody up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _robot(self, key: str, caller: Caller) -> Record:
        digest = digest_of(key)
        if not 0 < len(key) <= MAX_KEY:
            self.fail(caller)
            raise _unknown()
        if self._clock() < self._bad.get(digest, 0.0):  # a robot that was revoked comes again and again: that is cheap
            raise _unknown()
        crowded = self._waiting >= _MAX_WAITING or self._failures.is_empty(caller.address, self._clock())
        if digest not in self._known and crowded:
            raise _too_often()
        found = await self._in_thread(lambda: self._find(digest))
        if found is None:
            self._known.pop(digest, None)
            self._bad[digest] = self._clock() + _BAD_S
            if len(self._bad) > _MAX_KNOWN:
                self._bad.popitem(last=False)
            self.fail(caller)
            raise _unknown()
        try:
            self.agree(found.id, caller.certificate)
        except WireError:
            self.fail(caller)
            raise
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    async def _in_thread(self, work: Callable[[], Found]) -> Found:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _unknown() -> WireError:
    return WireError(Code.WIRE_AUTH, "unknown or missing key", "enroll the robot, and give it its key")


def _too_often() -> ServeError:
    return ServeError(Code.SERVE_RATE, "too many strangers come from this address, or all at once", "ask later")
