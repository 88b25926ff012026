"""What Ray Serve starts of a replica. The gateway names it, and torch is imported where the replica runs: a gateway
that was killed is back seconds earlier, and smaller."""

from serving.door import Address
from serving.permits import Permit
from volano.model.engine import Engine, Parity


class Deployed:
    """A replica in the process that Serve chose for it; see `serving.replica.Replica`."""

    def __init__(self, policy: str, store: str, permit: Permit, engine: Engine) -> None:
        from serving.replica import Replica

        self._replica = Replica(policy, store, permit, engine)

    async def address(self) -> Address | None:
        """Where gateways ask the replica; None while it warms up. Raises what its warm-up raised."""
        return await self._replica.address()

    async def parity(self) -> tuple[Parity, ...]:
        """How near its engine is to the reference, for each robot."""
        return await self._replica.parity()

    async def check_health(self) -> None:
        """Raises ServeError when nobody can ask any more: Serve starts another replica then."""
        await self._replica.check_health()
