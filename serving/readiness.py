"""Whether robots may be sent to this gateway now, as load balancers and people ask it; true at any moment, not only
after a look at the cluster.
"""

from collections.abc import Callable

STOPPING = "the gateway is stopping"


class Readiness:
    """Of one gateway; any thread may ask and tell."""

    def __init__(self, problem: Callable[[str], str]) -> None:
        """`problem` says why a policy cannot answer now; empty when it can."""
        self._problem = problem
        self._wanted: frozenset[str] | None = None
        self._stopping = False

    def want(self, policies: frozenset[str]) -> frozenset[str]:
        """These policies have to answer from now on; the same again."""
        self._wanted = policies
        return policies

    def stop(self) -> None:
        """No robot should come any more."""
        self._stopping = True

    def why_not(self) -> str:
        """Why no robot should be sent here; empty when one may."""
        if self._stopping:
            return STOPPING
        if self._wanted is None:
            return "nobody looked yet which policies are wanted"
        waiting = sum(bool(self._problem(policy)) for policy in self._wanted)
        return f"{waiting} of {len(self._wanted)} policies do not answer" if waiting else ""
