"""A release in the ledger: what rollouts may name, and how versions are counted."""

from volano.errors import Code, RolloutError
from volano.ledger.ledger import Ledger
from volano.ledger.records import PolicyRecord
from volano.registry.manifest import Manifest

MODEL = "volano-policy"
RELEASED, WITHDRAWN = "released", "withdrawn"


def record_release(ledger: Ledger, manifest: Manifest, actor: str, now: float) -> PolicyRecord:
    """Add a policy to the ledger, or say again that it is released; repeating it changes nothing."""
    record = PolicyRecord(
        digest=manifest.digest,
        model_name=MODEL,
        version=_number(ledger, manifest.digest),
        status=RELEASED,
        manifest=manifest.to_bytes().decode(),
    )
    ledger.put_policy(record, actor, now)
    return record


def record_of(ledger: Ledger, start: str) -> PolicyRecord:
    """The one policy whose digest begins so, whatever became of it. Raises RolloutError(E-ROLLOUT-001) when none or
    several do."""
    meant = [policy for policy in ledger.policies() if start and policy.digest.startswith(start)]
    if len(meant) != 1:
        raise RolloutError(Code.ROLLOUT_PLAN, f"{len(meant)} policies begin with {start!r}", "see `volano policy ls`")
    return meant[0]


def _number(ledger: Ledger, digest: str) -> int:
    """A policy's version, counted by the ledger: MLflow may be away and count otherwise."""
    known = [policy for policy in ledger.policies() if policy.model_name == MODEL]
    mine = [policy.version for policy in known if policy.digest == digest]
    return mine[0] if mine else 1 + max((policy.version for policy in known), default=0)
