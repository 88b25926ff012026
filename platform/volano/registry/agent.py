"""Who acts for a robot in matters of trust: believes releases and assignments, and remembers what was accepted.

On a robot that speaks our own protocol it is the robot's own; where a robot only speaks a stock protocol the gateway is
its agent, and the robot trusts the gateway as it always did. What was accepted is on the disk before the answer of a
policy is used, so that no restart leads back. A replica, which has no disk of its own, goes on from what its gateway
believed (`admit`).
"""

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from volano.data.door import Platform
from volano.data.text import strict_object
from volano.errors import Code, PolicyError, VolanoError
from volano.registry.assignment import Accepted, Assigned, accepted, judge, refused, replicas_of
from volano.registry.director import newest_assignment
from volano.registry.manifest import Manifest
from volano.registry.metadata import Papers, Releases, Trusted, malformed, verify, versions
from volano.registry.release import fetch
from volano.registry.trust import Trust, read_papers
from volano.storage.content import canonical_json
from volano.storage.files import open_plain, replace_file
from volano.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 4096
Read = Callable[[Trusted], tuple[Papers, bytes]]
"""What a platform says after what is trusted, and a robot's newest assignment, empty for none; nothing is verified."""


class Agent:
    """The trusted state of robots, one file each in one folder. Processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def accept(self, envelope: bytes, releases: Releases, *, subject: str, contract: str, now: float) -> Assigned:
        """An assignment that may be acted on, which from now on nothing older replaces. Raises PolicyError like
        `judge`, and E-POLICY-001 when what is kept was damaged."""
        with self._locked(subject):
            last = self.last(subject)
            assigned = judge(envelope, releases, last, subject=subject, contract=contract, now=now)
            found = accepted(assigned, envelope)
            if found != last:
                replace_file(self._file(subject), [canonical_json(asdict(found))])
        return assigned

    def last(self, subject: str) -> Accepted | None:
        """What a subject accepted last; None for nothing yet."""
        path = self._file(subject)
        try:
            with open_plain(path) as stream:
                return _kept(stream.read(_MAX_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise PolicyError(
                Code.POLICY_FORMAT,
                f"{path} is damaged: {error}",
                "look whether somebody changed it; removed, this robot believes the next assignment that it is shown",
            ) from error

    def _file(self, subject: str) -> Path:
        return self._folder / f"{subject}.json"

    @contextmanager
    def _locked(self, subject: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{subject}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class RobotAgent:
    """A robot's own agent: says of each policy that answers whether the robot may execute it."""

    def __init__(
        self,
        read: Read,
        trust: Trust,
        agent: Agent,
        *,
        robot: str,
        contract: str,
        report: Callable[[Assigned, float], None] = lambda _assigned, _now: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`read` gives the platform's papers and the robot's newest assignment, after what is trusted; `report` is told
        each assignment that was accepted, `clock` gives Unix time in seconds."""
        self._read, self._trust, self._agent = read, trust, agent
        self._robot, self._contract = robot, contract
        self._report, self._clock = report, clock
        self._assigned: Assigned | None = None
        self._reported = 0

    def look(self) -> str:
        """Learn what the robot is assigned now, for example where an episode begins; why that is not known, or empty.
        Then the assignment in hand counts until it is over."""
        now, envelope = self._clock(), b""

        def read(known: Trusted) -> Papers:
            nonlocal envelope
            papers, envelope = self._read(known)
            return papers

        try:
            releases = self._trust.believe(read, now)
            found = self._agent.accept(envelope, releases, subject=self._robot, contract=self._contract, now=now)
        except (VolanoError, OSError) as error:
            return str(error).partition("\n")[0]
        self._assigned = found
        self._say(found, now)
        return ""

    def problem(self, policy: str) -> str:
        """Why the robot may not execute an answer of a policy; empty when it may. Reads the store when the policy is
        not the one of the assignment in hand, or that is over; a store that cannot be read is a problem then."""
        now, held = self._clock(), self._assigned
        if held is not None and held.policy == policy and now < held.until:
            return ""
        if problem := self.look():
            return problem
        found = self._assigned
        if found is not None and found.policy == policy:
            return ""
        return f"{Code.POLICY_ASSIGNMENT} the robot is assigned {found.policy[:12] if found else 'nothing'}"

    def _say(self, assigned: Assigned, now: float) -> None:
        """Report an assignment, again at the next look if that fails: the robot acts meanwhile."""
        if assigned.counter == self._reported:
            return
        try:
            self._report(assigned, now)
            self._reported = assigned.counter
        except (VolanoError, OSError) as error:
            _LOG.warning("the platform does not take the report of what runs here: %s", error)


def papers_in(store: ObjectStore, robot: str) -> Read:
    """How a robot with access to the store reads what concerns it."""

    def read(known: Trusted) -> tuple[Papers, bytes]:
        return read_papers(store, known), newest_assignment(store, robot) or b""

    return read


def papers_of(platform: Platform) -> Read:
    """How a robot without it asks the platform's door for uploads."""

    def read(known: Trusted) -> tuple[Papers, bytes]:
        found = platform.papers(versions(known.root)[0])
        try:
            papers = Papers(
                roots=tuple(str(root).encode() for root in found["roots"]),
                **{name: str(found[name]).encode() for name in ("timestamp", "snapshot", "targets")},
            )
            return papers, str(found["assignment"]).encode()
        except (KeyError, TypeError) as error:
            raise malformed(f"the platform's answer has another form: {error}") from error

    return read


def admit(store: ObjectStore, known: Trusted, least: int, policy: str, folder: Path, now: float) -> Manifest:
    """Bring a policy into the new folder `folder` if its release and the assignment to its replicas agree: verified as
    a whole, and copied to where only this user can reach it, before anything of it is loaded. `known` and `least`, the
    lowest counter that counts, are what the gateway believed. Raises PolicyError like `verify`, `judge` and `fetch`."""
    releases = verify(read_papers(store, known), known, now)
    subject = replicas_of(policy)
    envelope = newest_assignment(store, subject)
    if envelope is None:
        raise refused(f"nobody assigned policy {policy[:12]} to replicas")
    assigned = judge(envelope, releases, None, subject=subject, contract="", now=now)
    if assigned.policy != policy or assigned.counter < least:
        raise refused(f"assignment {assigned.counter} is for {assigned.policy[:12]}, and {least} was seen")
    return fetch(store, releases.of(policy), folder)


def _kept(data: bytes) -> Accepted:
    found = Accepted(**strict_object(data))
    if type(found.counter) is not int or type(found.number) is not int or not isinstance(found.policy, str):
        raise TypeError("a field has another type")
    return found
