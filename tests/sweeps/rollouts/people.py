"""Who decides in a simulated rollout: reconcilers that may be killed and overtake each other, and an operator."""

from collections.abc import Sequence

from tests.sweeps.rollouts.faults import Crash
from tests.sweeps.rollouts.gateway import Gateway
from tests.sweeps.rollouts.world import World
from volano.errors import VolanoError
from volano.flywheel import reconcile
from volano.inference.hold.state import Order, Resume, Stop

MISSING_AFTER_S = 25.0
_LOOK_S, _AGAIN_S = 11.0, 2.0


class Reconciler:
    """Looks at the rollout now and then."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.rival: Reconciler | None = None
        self._ended = False
        world.every(_LOOK_S, self.look)

    def look(self) -> None:
        """One look, which may fail anywhere; now and then also at a rollout that has ended."""
        if self._ended and not self.world.chance(0.1):
            return
        world, store = self.world, self.world.store
        if self.rival is not None and world.chance(0.15):
            store.meanwhile = self.rival.look
        try:
            with world.calling("a look", self.name):
                found = reconcile.look(
                    world.ledger,
                    store,
                    world.plan.id,
                    list(world.shadows),
                    missing_after_s=MISSING_AFTER_S,
                    now=world.wall(self.name),
                )
        except Crash:
            world.note(self.name, "crashed")
            return
        except VolanoError as error:
            world.note(self.name, str(error.code))
            return
        finally:
            store.meanwhile = None
        world.note(self.name, found.verdicts[-1].inputs if found.verdicts else "", found.state.kind)
        if found.verdicts:
            world.truth.looked(world.ledger, found, ended=found.ended)
        if found.ended and not self._ended:
            self._ended = True
            world.ended()

    def decide(self) -> None:
        """A person rolls back."""
        try:
            with self.world.calling("a decision", self.name):
                reconcile.decide(
                    self.world.ledger,
                    self.world.plan.id,
                    "rollback",
                    operator="ada",
                    reason="a feeling",
                    now=self.world.wall(self.name),
                )
        except Crash:
            self.world.note("decision", "crashed")
        except VolanoError as error:
            self.world.note("decision", str(error.code))
        else:
            self.world.counts["people rolled back"] += 1
            self.world.truth.rolled_back = True
            self.world.ended()


class Operator:
    """Stops some robots, and resumes them later or never; gives an order again until every gateway confirms it."""

    def __init__(self, world: World, gateways: Sequence[Gateway], robots: Sequence[str]) -> None:
        self.world, self._gateways, self._robots = world, gateways, robots
        self.stops: list[Stop] = []
        self._lifted: set[str] = set()
        self._number = 0
        for _ in range(world.random.choice((0, 0, 1, 1, 2))):
            world.after(world.random.uniform(2, 40), self.stop)

    def stop(self) -> None:
        """Stop all, a hall or a robot."""
        draw = self.world.random
        scope = draw.choice(({}, {"site": "hall-1"}, {"robot": draw.choice(self._robots)}, {"embodiment": "rover"}))
        order = Stop(id=self._id(), at=0.0, by="ada", reason="smoke", scope=scope)
        self.stops.append(order)
        self.world.counts["stops"] += 1
        if self.world.chance(0.6):  # just then
            for robot in self._robots[:6]:
                self.world.part(robot, draw.uniform(3, 15))
        self._give(order, self._gateways)
        if draw.random() < 0.75:
            self.world.after(draw.uniform(3, 25), lambda: self.resume(order))

    def resume(self, *stops: Stop) -> None:
        """Lift these."""
        self.world.counts["resumes"] += 1
        self._lifted |= {one.id for one in stops}
        lifts = tuple(one.id for one in stops)
        self._give(Resume(id=self._id(), at=0.0, by="eve", reason="clear", lifts=lifts), self._gateways)

    def resume_all(self) -> None:
        """Whatever is still in force."""
        if left := [one for one in self.stops if one.id not in self._lifted]:
            self.resume(*left)

    def while_thinking(self, gateway: Gateway) -> None:
        """Press while a policy thinks."""
        order = Stop(id=self._id(), at=0.0, by="ada", reason="at the last moment", scope={})
        self.stops.append(order)
        self.world.counts["stops while a policy thought"] += 1
        gateway.register.apply(order, b"{}")
        self.world.truth.confirmed(gateway.name, order, self.world.now)
        self._give(order, [one for one in self._gateways if one is not gateway])
        self.world.after(self.world.random.uniform(1, 8), lambda: self.resume(order))

    def _give(self, order: Order, gateways: Sequence[Gateway]) -> None:
        for gateway in gateways:
            self._tell(order, gateway)

    def _tell(self, order: Order, gateway: Gateway) -> None:
        done: list[bool] = []

        def arrive() -> None:
            done.extend([True] if gateway.order(order) else [])

        def again() -> None:
            if not done:
                self.world.send(gateway.name, arrive)
                self.world.after(_AGAIN_S, again)

        again()

    def _id(self) -> str:
        return f"{self.world.random.getrandbits(128):032x}"
