"""A replica's own door: gateways connect to it and ask it directly, so that an observation crosses one socket.

Ray Serve starts, watches and ends replicas, and tells gateways where their doors are; no observation goes through it.
A gateway on the same machine comes by a Unix socket and shares the memory in which its observations lie, others come by
TCP and send them. Whoever cannot name the door's token and its policy
is not read further: an address that another process took over answers nobody.

Each gateway has a thread that reads. What nobody shares a batch with is computed and answered in that thread as well;
else one thread does that for all. A loop between them would cost two more changes of threads for each answer.
"""

import hmac
import logging
import os
import secrets
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.frames import Arrays, Fields, encode, read_frame, read_hello, widen
from serving.slots import mapped
from volano.errors import Code, ServeError, VolanoError, WireError
from volano.inference.batcher import Batcher, Waiting
from volano.inference.session import IDENTITY

_LOG = logging.getLogger(__name__)
_HELLO_S = 5.0
_SEND_S = 1
"""A gateway that does not read for so long is dropped: its answers must not hold up those of others."""
_MAX_STRANGERS = 64
"""Connections that did not say yet who they are."""
_MAX_HELLO_BYTES = 1 << 10
_MAX_WAITING = 256
_STUCK_S = 60.0
Work = TypeVar("Work")
Read = Callable[[Mapping[str, Any]], Work]
"""A checked observation as the network wants it; raises VolanoError. Called by several threads."""
Compute = Callable[[Sequence[Work]], Sequence[NDArray[np.float32]]]
"""A chunk for each piece of work. Called by one thread at a time, not always the same."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a door is."""

    path: str
    """Unix socket, of use on the same machine."""
    host: str
    port: int
    token: str
    """What whoever comes must say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked(Generic[Work]):
    """One request, and who waits for it."""

    number: int
    guest: "_Guest"
    work: Work


class Door(Generic[Work]):
    """Listens from its construction on, until `close` or the end of the process."""

    def __init__(self, policy: str, read: Read[Work], compute: Compute[Work], *, host: str, most: int) -> None:
        """`host` is the address that other machines reach this one by, `most` the largest batch. Raises
        ServeError(E-SERVE-001) when it cannot listen there."""
        self._policy = policy
        self._token = secrets.token_hex(32)
        self._read = read
        self._compute = compute
        self._batcher: Batcher[_Asked[Work]] = Batcher(most=most)
        self._changed = threading.Condition()
        """Guards what follows, and the batcher."""
        self._guests: set[_Guest] = set()
        self._closed = False
        self._computing_since: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="volano-door-")
        path = os.path.join(self._folder.name, "door")
        try:
            by_path = socket.socket(socket.AF_UNIX)
            by_path.bind(path)
            by_path.listen()
            self._servers = [by_path, socket.create_server((host, 0))]
        except OSError as error:
            cause = f"a replica cannot listen on {host}: {error.strerror}"
            raise ServeError(Code.SERVE_UNAVAILABLE, cause, "see its log") from error
        port = self._servers[1].getsockname()[1]
        self.address = Address(path=path, host=host, port=port, token=self._token)
        """Where it is."""
        self._threads = [threading.Thread(target=self._work, name="policy", daemon=True)]
        self._threads += [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._servers]
        for thread in self._threads:
            thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it listens, and its policy does not think for ever."""
        since = self._computing_since
        stuck = since is not None and time.monotonic() - since > _STUCK_S
        return not stuck and all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Let go of every guest, and of the sockets; more than once is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            guests = list(self._guests)
        for server in self._servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for guest in guests:
            guest.close()
        self._folder.cleanup()

    def _accept(self, server: socket.socket) -> None:
        while not self._closed:
            try:
                connection, _ = server.accept()
            except OSError:
                if self._closed:
                    return
                _LOG.exception("a guest could not come in")
                time.sleep(0.1)
                continue
            guest = _Guest(connection)
            with self._changed:
                full = sum(not one.known for one in self._guests) >= _MAX_STRANGERS or self._closed
                if not full:
                    self._guests.add(guest)
            if full:
                guest.close()
            else:
                threading.Thread(target=self._host, args=(guest,), name="guest", daemon=True).start()

    def _host(self, guest: "_Guest") -> None:
        """Read what a guest asks until it leaves."""
        try:
            self._greet(guest)
            while True:
                self._take(guest, *guest.read())
        except (OSError, EOFError):
            pass
        except WireError as error:
            _LOG.warning("a guest is shown out: %s", error.cause)
        except Exception:
            _LOG.exception("a guest is shown out")
        finally:
            with self._changed:
                self._guests.discard(guest)
            guest.close()

    def _greet(self, guest: "_Guest") -> None:
        patience = threading.Timer(_HELLO_S, guest.close)
        patience.start()
        try:
            fields, descriptor = guest.read_hello()
        finally:
            patience.cancel()
        token = str(fields.get("token")).encode()
        if not hmac.compare_digest(token, self._token.encode()) or fields.get("policy") != self._policy:
            if descriptor is not None:
                os.close(descriptor)
            raise WireError(Code.WIRE_AUTH, "it does not know the token", "ask Serve where the replica is")
        if descriptor is not None:
            guest.share(descriptor, time.monotonic() - float(fields["now"]))
        guest.known = True
        guest.send({"policy": self._policy}, {})

    def _take(self, guest: "_Guest", fields: Mapping[str, Any], arrays: Arrays) -> None:
        """Let a question wait for its batch."""
        now, number = time.monotonic(), fields["number"]
        deadline = guest.asked_at(fields["asked_at"], now) + fields["within_s"]
        observation = {**fields["observation"], **arrays}
        try:
            asked = _Asked(number=number, guest=guest, work=self._read(observation))
        except Exception as error:  # whatever a policy does with it: the others of this guest go on
            if not isinstance(error, VolanoError):
                _LOG.exception("an observation could not be read")
            guest.tell(number, error)
            return
        source = observation[IDENTITY]["robot"]
        with self._changed:
            full = len(self._batcher) >= _MAX_WAITING
            alone = not full and self._is_alone(guest, source, now)
            if alone:
                self._computing_since = now
            elif not full:
                self._batcher.add(Waiting(item=asked, source=source, arrived=now, deadline=deadline))
                self._changed.notify_all()
        if full:
            guest.tell_late(number)
        elif alone:
            self._answer([asked])

    def _is_alone(self, guest: "_Guest", source: Hashable, now: float) -> bool:
        """Whether a question can be answered at once, and no batch would hold another with it."""
        free = not self._closed and self._computing_since is None and guest.is_near
        return free and self._batcher.is_alone(source, now) and not guest.says_more()

    def _work(self) -> None:
        """Answer batch after batch."""
        while (batch := self._next()) is not None:
            self._answer(batch)

    def _answer(self, batch: Sequence[_Asked[Work]]) -> None:
        """Compute a batch, which is the only one meanwhile, and tell everybody."""
        began = time.monotonic()
        try:
            chunks = self._compute([asked.work for asked in batch])
        except Exception as error:  # whatever a policy does: those who asked are told
            _LOG.exception("a batch of %d failed", len(batch))
            for asked in batch:
                asked.guest.tell(asked.number, error)
        else:
            computed_s = time.monotonic() - began
            for asked, chunk in zip(batch, chunks, strict=True):
                told = {"number": asked.number, "batch": len(batch), "computed_s": computed_s}
                asked.guest.send(told, {"chunk": chunk})
        finally:
            now = time.monotonic()
            with self._changed:
                self._computing_since = None
                self._batcher.note(now - began, now)
                if len(self._batcher):
                    self._changed.notify_all()

    def _next(self) -> list[_Asked[Work]] | None:
        """The next batch, when its time has come and nothing is computed; None when the door is closed."""
        while True:
            with self._changed:
                now = time.monotonic()
                while not self._closed and ((left := self._wait_s(now)) is None or left > 0):
                    self._changed.wait(left)
                    now = time.monotonic()
                if self._closed:
                    return None
                batch, late = self._batcher.take(now)
                self._computing_since = now if batch else None
            for one in late:
                one.item.guest.tell_late(one.item.number)
            if batch:
                return [one.item for one in batch]

    def _wait_s(self, now: float) -> float | None:
        """For how long the next batch waits; None until somebody says that something changed."""
        at = self._batcher.start_at(now) if self._computing_since is None else None
        return None if at is None else at - now


class _Guest:
    """One gateway's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._shared: memoryview | None = None
        """Memory in which its observations lie, of a guest on this machine."""
        self._ahead_s = 0.0
        """Of its clock, which is this machine's then: ours, unless containers differ in it."""
        self.known = False
        """It said the token."""
        widen(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_S, 0))

    def read_hello(self) -> tuple[Fields, int | None]:
        """Its first frame, and the file that came with it; raises like `read`."""
        return read_hello(self._connection, _MAX_HELLO_BYTES)

    @property
    def is_near(self) -> bool:
        """Whether it is on this machine."""
        return self._shared is not None

    def asked_at(self, said_s: float, now: float) -> float:
        """When it asked, on our clock; `now` is when that was read, `said_s` is its own time. Clocks of two machines
        drift apart: from another one the way here takes no time."""
        return min(said_s + self._ahead_s, now) if self.is_near else now

    def share(self, descriptor: int, ahead_s: float) -> None:
        """Read its observations where it lays them, and times by its clock. Raises WireError for a file that is not
        made for that."""
        self._ahead_s = ahead_s
        try:
            self._shared = mapped(descriptor)
        except ValueError as error:
            raise WireError(Code.WIRE_FRAME, f"it sent {error}", "use one version of both") from error

    def says_more(self) -> bool:
        """Whether something waits to be read."""
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def read(self) -> tuple[Fields, Arrays]:
        """The next frame; raises EOFError when the guest left, WireError for what is no frame."""
        return read_frame(self._connection, self._shared)

    def send(self, fields: Fields, arrays: Arrays) -> None:
        """Send a frame; a guest that is gone, or does not read, is let go."""
        try:
            with self._sending:
                self._connection.sendall(b"".join(encode(fields, arrays)))
        except OSError:
            self.close()

    def tell(self, number: int, error: Exception) -> None:
        """Say what went wrong: the replica's own errors whole, of all others that there was one."""
        if not isinstance(error, VolanoError):
            error = ServeError(Code.SERVE_UNAVAILABLE, "the policy failed", "see the replica's log")
        self.send({"number": number, "code": error.code.value, "cause": error.cause, "fix": error.fix}, {})

    def tell_late(self, number: int) -> None:
        """Say that a question could not be begun in time."""
        self.tell(number, ServeError(Code.SERVE_TIMEOUT, "the policy is busy", "add replicas or use a smaller policy"))

    def close(self) -> None:
        """End the connection, and its thread's read."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
