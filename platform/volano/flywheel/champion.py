"""MLflow's `champion` shows the policy that was put in place last, whoever decided it.

The ledger decides and MLflow is a view of it: this may be called at any time, by anyone, and never raises because of
MLflow; what was missed while it was away is caught up by the next call.
"""

import json

from volano.ledger.ledger import Ledger
from volano.registry import tracking


def show_champion(ledger: Ledger, tracking_uri: str) -> None:
    """Point the alias of the model at the version of the policy; nothing when none was ever put in place."""
    placed = [json.loads(row.payload)["policy"] for row in ledger.audit() if row.kind == "policy.current"]
    policy = ledger.policy(placed[-1]) if placed else None
    if policy is not None:
        tracking.set_alias(tracking_uri, policy.model_name, "champion", policy.digest)
