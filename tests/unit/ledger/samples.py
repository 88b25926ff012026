"""Rows that the ledger's tests write."""

from volano.ledger.ledger import Ledger
from volano.ledger.records import Event, PolicyRecord, Replacement, Robot, RolloutRecord

ROBOT = Robot(id="arm-1", embodiment="sawyer", fingerprint="f" * 64, site="lab", enrolled_at=10.0, revoked=False)
POLICY = PolicyRecord(digest="d" * 64, model_name="otter", version=1, status="candidate", manifest="{}")
ROLLOUT = "rollout-1"
REPLACEMENT = Replacement(embodiments=(ROBOT.fingerprint, "e" * 64), old="one", new="two")


def event(at: float) -> Event:
    """A step of a rollout."""
    return Event(at=at, kind="rollout.step", actor="controller", payload={"n": 3})


def start(ledger: Ledger) -> RolloutRecord:
    """A rollout at revision 0."""
    return ledger.create_rollout(ROLLOUT, '{"plan":1}', '{"stage":0}', event(1.0))


def step(ledger: Ledger, revision: int) -> RolloutRecord:
    """One step on from a revision, which puts a policy in place where the old one is."""
    state = f'{{"stage":{revision + 1}}}'
    return ledger.advance_rollout(ROLLOUT, revision, state, event(2.0 + revision), replacement=REPLACEMENT)
