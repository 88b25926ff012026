"""Keeps a robot's control lease: a thread with a connection of its own, which asks each second and hears of a stop.

It is another connection than that of the observations, so that neither a policy that thinks nor an observation on its
way delays a stop. Imports the standard library and websockets only.
"""

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from websockets.sync.client import ClientConnection, connect

from volano.errors import Code
from volano.inference.hold.lease import RENEW_S, Lease, steady_clock

LEASE_PATH = "/lease"
MAX_FRAME_BYTES = 4096
_OPEN_S = 3.0
_CLOSE_S = 0.2
_LOOK_S = 0.2
"""How often a stop by a file is looked for, whatever the network does."""
_PAUSE_S = 0.25
"""From a connection that failed to the next."""


def nowhere() -> str:
    """No stop by a file."""
    return ""


class LeaseKeeper:
    """One robot's lease; any thread may ask for its `problem`."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        offline: Callable[[], str] = nowhere,
        clock: Callable[[], float] = steady_clock,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is where the robot sends observations, with `tls` as there; `offline` says why it has to stand still
        whatever a gateway says, and may block for a moment. Connecting starts now."""
        self._tls = tls
        parts = urlsplit(url)
        self._url = urlunsplit((parts.scheme, parts.netloc, LEASE_PATH, parts.query, ""))
        self._headers = {"Authorization": f"Api-Key {key}"}
        self._offline = offline
        self._clock = clock
        self._lease = Lease()
        self._stopped = offline()
        self._settled = False
        """A gateway answered, or could not be reached."""
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="volano-lease", daemon=True)]
        if offline is not nowhere:
            self._threads.append(threading.Thread(target=self._watch, name="volano-hold", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def problem(self) -> str:
        """Why no policy may act now, with its code; empty while one may."""
        with self._changed:
            return self._problem()

    def wait(self, timeout_s: float) -> str:
        """The same, after waiting so long at most for the first answer, or for a connection that failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled or self._closed.is_set(), timeout_s)
            return self._problem()

    def close(self) -> None:
        """End the connection and the threads; there is no lease from now on."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=_OPEN_S)

    def _problem(self) -> str:
        if self._stopped:
            return f"{Code.HOLD_STOPPED} {self._stopped}"
        return self._lease.problem(self._clock())

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            try:
                self._stopped = self._offline()
            except Exception as error:  # who cannot know whether there is a stop has to assume one
                self._stopped = f"whether a file says stop is not known: {error!r}"[:300]

    def _run(self) -> None:
        while not self._closed.is_set():
            with suppress(Exception), self._connect() as connection:  # the thread's edge: whatever happened, the lease
                self._converse(connection)  # runs out, and we connect again
            self._settle()
            self._closed.wait(_PAUSE_S)

    def _connect(self) -> ClientConnection:
        return connect(
            self._url,
            ssl=self._tls,
            additional_headers=self._headers,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            max_size=MAX_FRAME_BYTES,
        )

    def _settle(self) -> None:
        with self._changed:
            self._settled = True
            self._changed.notify_all()

    def _converse(self, connection: ClientConnection) -> None:
        ask_at = self._clock()
        while not self._closed.is_set():
            now = self._clock()
            if not ask_at - RENEW_S < now < ask_at:  # also when the clock went back
                with self._changed:
                    number = self._lease.ask(now)
                connection.send(json.dumps({"renew": number}))
                ask_at = now + RENEW_S
            with suppress(TimeoutError):
                self._hear(connection.recv(timeout=min(max(ask_at - self._clock(), 0.0), _LOOK_S)))

    def _hear(self, frame: str | bytes) -> None:
        said = json.loads(frame)
        with self._changed:
            if "held" in said:
                self._lease.stop(str(said["held"])[:300])
            else:
                self._lease.grant(int(said["lease"]), float(said["for_s"]))
        self._settle()
