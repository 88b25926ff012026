"""The first draft of a rollout: the released candidate against what its embodiments run now, with every default."""

from collections.abc import Sequence

from volano.errors import Code, RolloutError
from volano.ledger.ledger import Ledger
from volano.registry.manifest import Manifest
from volano.rollout.plan import ABTestStep, CanaryStep, Rollout, ShadowStep

_STEPS = (
    ShadowStep(min_episodes=20),
    CanaryStep(percent=10.0, min_episodes=20),
    ABTestStep(min_blocks=20, max_blocks=200),
)


def draft(ledger: Ledger, rollout_id: str, candidate: str, robots: Sequence[str]) -> Rollout:
    """Of the released policy whose digest begins with `candidate`, for the named embodiments (all it serves if none).
    Raises RolloutError(E-ROLLOUT-001) when no policy or several are meant, or the embodiments run different ones."""
    released = {policy.digest: policy for policy in ledger.policies() if policy.status == "released"}
    meant = [digest for digest in released if candidate and digest.startswith(candidate)]
    if len(meant) != 1:
        raise _refused(f"{len(meant)} released policies begin with {candidate!r}", "see `volano policy ls`")
    served = Manifest.from_bytes(released[meant[0]].manifest.encode()).embodiments
    if strange := sorted(set(robots) - served.keys()):
        raise _refused(
            f"policy {meant[0][:12]} does not serve {strange[0]!r}", f"choose among {', '.join(sorted(served))}"
        )
    fingerprints = sorted(served[tag] for tag in robots or served)
    current = {ledger.current(fingerprint) for fingerprint in fingerprints}
    only = current.pop() if len(current) == 1 else None
    if only is None:
        raise _refused("these embodiments run no policy, or different ones", "name with --robot those that share one")
    return Rollout(
        id=rollout_id,
        embodiments=tuple(fingerprints),
        current=only,
        candidate=meant[0],
        salt=f"{rollout_id}-{meant[0][:12]}",
        steps=_STEPS,
    )


def _refused(cause: str, fix: str) -> RolloutError:
    return RolloutError(Code.ROLLOUT_PLAN, cause, fix)
