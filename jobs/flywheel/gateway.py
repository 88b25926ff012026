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


class GatewayKeeper:
    """One gateway process, watched from its first start to `stop`."""

    def __init__(self, home: Home, children: Children, port: int) -> None:
        self._folder = GatewayFolder(home.root)
        self._command = [sys.executable, "-m", "serving", "--home", str(home.root), "--port", str(port)]
        self._children = children
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="gateway-keeper", daemon=True)

    def ready(self) -> None:
        """Return once a gateway answers with every policy that the ledger names now. Raises ServeError when one is
        refused, or when it takes too long."""
        if not self._watch.is_alive():
            self._watch.start()
        since, until = time.time(), time.monotonic() + _READY_S
        while time.monotonic() < until:
            status = self._folder.status()
            if status is not None and status.settled(since):
                for policy, problem in status.refused.items():
                    raise ServeError(Code.SERVE_UNAVAILABLE, f"policy {policy[:12]}: {problem}", "release another one")
                return
            time.sleep(_LOOK_S)
        raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is not ready in time", f"see {self._children.log(NAME)}")

    def stop(self) -> None:
        """End the gateway and its replicas."""
        self._stopped.set()
        with suppress(RuntimeError):
            self._watch.join()
        self._children.stop(NAME)

    def _keep(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            if not self._children.alive(NAME):
                _LOG.info("starting the gateway")
                self._children.start(NAME, self._command)
