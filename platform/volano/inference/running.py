"""The folder in which a gateway leaves its traces: that it runs, what it serves, and whom it answered.

That a gateway runs is a lock which ends with its process, however that ends: a process id alone may belong to a
stranger by now. The status is replaced as a whole, so a reader never sees half of one.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from volano.errors import Code, ServeError
from volano.storage.content import canonical_json
from volano.storage.files import replace_file

_ATTEMPTS, _ATTEMPT_S = 10, 0.05
"""Whoever asks whether a gateway runs holds the lock for a moment; a gateway that starts then tries again."""


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    """What a running gateway says about itself."""

    pid: int
    url: str
    """Where robots connect: ws://host:port, or wss:// where it is encrypted."""
    watch: str
    """Where its metrics and its health are: http://host:port."""
    looked_at: float
    """Unix time in seconds at which it began to read what the ledger names."""
    policies: Mapping[str, str]
    """Digest of each policy that must be served, to why it cannot answer; empty when it is ready."""
    drain_s: float = 0.0
    """How long episodes may go on when it is told to stop."""
    parity: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each policy that answers in another engine than fp32: for each robot how near that is
    (volano.model.engine.Parity)."""

    @property
    def refused(self) -> dict[str, str]:
        """The policies that failed with a code, so that waiting longer changes nothing."""
        return {policy: problem for policy, problem in self.policies.items() if problem.startswith("E-")}

    def settled(self, since: float) -> bool:
        """Whether everything that the ledger named at `since`, in Unix seconds, is ready or was refused."""
        return self.looked_at >= since and all(not why or why.startswith("E-") for why in self.policies.values())


class GatewayFolder:
    """`serving/` below a platform folder."""

    def __init__(self, home: Path) -> None:
        self.path = home / "serving"
        self.access = self.path / "access.jsonl"
        """One line per request (serving.routes.Access)."""
        self.shadow = self.path / "shadow.jsonl"
        """One line per shadow answer (serving.routes.ShadowEntry)."""
        self.loads = self.path / "loads.json"
        """Seconds that policies took to load (serving.loads)."""
        self.log = self.path / "gateway.log"
        self._lock = self.path / "lock"
        self._status = self.path / "status.json"

    def occupy(self) -> int:
        """Make the folder and take its lock until this process ends; returns the lock's descriptor. Raises
        ServeError(E-SERVE-001) while another gateway has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(_ATTEMPTS):
            if _locked(descriptor, fcntl.LOCK_EX):
                self._status.unlink(missing_ok=True)
                return descriptor
            time.sleep(_ATTEMPT_S)
        os.close(descriptor)
        raise ServeError(Code.SERVE_UNAVAILABLE, f"a gateway runs in {self.path} already", "see `volano serve status`")

    def occupied(self) -> bool:
        """Whether a gateway runs here now."""
        if not self._lock.exists():
            return False
        descriptor = os.open(self._lock, os.O_RDWR)
        try:
            return not _locked(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def tell(self, status: GatewayStatus) -> None:
        """Replace the status."""
        replace_file(self._status, [canonical_json(asdict(status))])

    def status(self) -> GatewayStatus | None:
        """What the gateway that runs here said last; None when none runs or it said nothing yet."""
        if not self.occupied():
            return None
        try:
            return GatewayStatus(**json.loads(self._status.read_bytes()))
        except FileNotFoundError:  # a gateway that starts removes what the one before it said
            return None


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
