"""Keeps a flywheel's gateway running: started when a step needs it, started again when somebody killed it."""

import logging
import sys
import threading
import time
from contextlib import suppress

from jobs.flywheel.children import Children
from jobs.flywheel.home import Home
from volano.errors import Code, ServeError
from volano.inference.running import GatewayFolder

_LOG = logging.getLogger(__name__)
NAME = "gateway"
_READY_S, _LOOK_S = 180.0, 0.5
_STARTS = 3
"""A gateway that ended so often while somebody waited for it will not come up by itself."""


class GatewayKeeper:
    """One gateway process, watched from its first start to `stop`."""

    def __init__(self, home: Home, children: Children, port: int) -> None:
        self._folder = GatewayFolder(home.root)
        own = ("--home", str(home.root), "--store", home.store_url, "--ledger", home.ledger_url, "--port", str(port))
        self._command = [sys.executable, "-m", "serving", *own]
        self._children = children
        self._stopped = threading.Event()
        self._watch: threading.Thread | None = None
        self._starts = 0

    def ready(self) -> None:
        """Return once a gateway answers with every policy that the ledger names now. Raises ServeError when one is
        refused, or when it takes too long."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._keep, name="gateway-keeper", daemon=True)
            self._watch.start()
        since, until, starts = time.time(), time.monotonic() + _READY_S, self._starts
        while time.monotonic() < until and self._starts <= starts + _STARTS:
            status = self._folder.status()
            if status is not None and status.settled(since):
                for policy, problem in status.refused.items():
                    raise ServeError(Code.SERVE_UNAVAILABLE, f"policy {policy[:12]}: {problem}", "release another one")
                return
            time.sleep(_LOOK_S)
        raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway does not become ready", f"see {self._children.log(NAME)}")

    def stop(self) -> None:
        """End the gateway and its replicas."""
        self._stopped.set()
        if self._watch is not None:
            self._watch.join()
        self._children.stop(NAME)

    def _keep(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            if not self._children.alive(NAME):
                self._starts += 1
                _LOG.info("starting the gateway, time %d; it writes %s", self._starts, self._children.log(NAME))
                with suppress(OSError):
                    self._children.start(NAME, self._command)
