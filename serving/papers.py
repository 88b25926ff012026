"""What a robot that checks for itself asks the platform for: what is released, what it is assigned; and what it
answers.

The papers are public, and none of them is believed for where it comes from: the robot verifies them against its root.
Called from worker threads; nothing is remembered but what this platform trusts.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from volano.errors import Code, PolicyError
from volano.ledger.ledger import Ledger
from volano.ledger.robot_keys import robot_keys
from volano.registry.agent import papers_in
from volano.registry.confirmation import take_report
from volano.registry.report import MAX_BYTES, refused
from volano.registry.trust import Trust, read_root
from volano.storage.store import ObjectStore

MAX_REPORT_BYTES = MAX_BYTES
_DIGITS = 9


class Papers:
    """The papers of one store."""

    def __init__(self, store: ObjectStore, ledger: Ledger, trust: Trust) -> None:
        """`trust` is what this process believes: it decides whether a report is about an assignment."""
        self._store, self._ledger, self._trust = store, ledger, trust

    def of(self, robot: str, root: str) -> dict[str, object]:
        """What concerns a robot, after the root of a number that it trusts. Raises PolicyError like `read_papers`, and
        E-POLICY-001 for what is no number."""
        if not root.isascii() or not root.isdecimal() or len(root) > _DIGITS:
            raise PolicyError(Code.POLICY_FORMAT, "no root is named by its number", "ask for /papers?root=N")
        papers, assignment = papers_in(self._store, robot)(read_root(self._store, int(root)))
        return {
            "roots": [paper.decode() for paper in papers.roots],
            "timestamp": papers.timestamp.decode(),
            "snapshot": papers.snapshot.decode(),
            "targets": papers.targets.decode(),
            "assignment": assignment.decode(),
        }

    def take(self, robot: str, envelope: bytes, now: float) -> dict[str, object]:
        """Keep a robot's report. Raises PolicyError(E-POLICY-010) when it is not believed."""
        key = robot_keys(self._ledger).get(robot)
        if key is None:
            raise refused(f"nobody said which key {robot} signs with")
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        report = take_report(self._store, self._trust.look(self._store, now), robot, public, envelope)
        return {"counter": report.counter, "policy": report.policy}
