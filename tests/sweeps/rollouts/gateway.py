"""A simulated machine with a gateway: the real exchanger, directory, leases and register, over a network and a clock
that the world makes. Killed, it loses what is in memory and keeps its register.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.admission import Admission
from serving.directory import LedgerDirectory, withdrawn_policies
from serving.exchange import Conversation, Exchanger
from serving.leases import Leases, subject_of
from serving.limits import Limits
from serving.metrics import Metrics
from serving.routes import RobotRecord, ShadowEntry
from tests.sweeps.rollouts.faults import Crash
from tests.sweeps.rollouts.world import World
from tests.unit.data.bundles import ROVER
from volano.errors import VolanoError
from volano.inference.hold.orders import Authority
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.hold.state import Order
from volano.inference.protocols.dialect import Answer
from volano.storage.content import canonical_json

_CHUNK = np.zeros((ROVER.horizon, len(ROVER.action)), np.float32)
_LOOK_S, _DOWN_S = 15.0, 3.0


def _permitted(robot: str, fingerprint: str, policy: str) -> None:
    """Every policy may be executed."""
    del robot, fingerprint, policy


class _AtOnce(ThreadPoolExecutor):
    """Work is done where it is handed over, so that a run is the same each time."""

    def submit(self, work: Any, /, *arguments: Any, **options: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **options))
        except Exception as error:
            done.set_exception(error)
        return done


LOOP = asyncio.new_event_loop()
LOOP.set_default_executor(_AtOnce())


_METRICS = Metrics()


class Gateway:
    """One of them."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self.world, self.name, self._folder = world, name, folder
        self._skew = world.random.uniform(-600, 600)
        self.life = 0
        """How often it was started."""
        self.up = False
        self.start()
        world.every(_LOOK_S, self.look)

    def start(self) -> None:
        """Begin with nothing but what is on the disk."""
        world = self.world
        self.up, self.life = True, self.life + 1
        self.register = HoldRegister(self._folder / self.name / REGISTER, lambda: 1.0)
        self.leases = Leases(self.register, Authority(stop=(), resume=()))
        self.directory = LedgerDirectory(world.ledger, [ROVER], lambda _policy: "", _permitted, self._clock)
        self.exchanger = Exchanger(
            directory=self.directory,
            admission=Admission(self.directory.robot),
            act=self._act,
            access=lambda _: None,
            shadow=self._shadow,
            timeout_s=1e9,
            require=self.leases.require,
            limits=Limits(answers_per_s=1e9, episodes_per_minute=1e9),
            metrics=_METRICS,
            clock=lambda: world.now,
        )

    def crash(self) -> None:
        """Die, and come back in a while."""
        self.up = False
        self.world.counts["gateways crashed"] += 1
        self.world.after(_DOWN_S, self.start)

    def look(self) -> None:
        """What the process does each second: learn what was withdrawn."""
        if not self.up:
            return
        try:
            with self.world.calling(f"a look of {self.name}", self.name):
                self.exchanger.withdrawn = withdrawn_policies(self.world.ledger)
        except VolanoError:
            return
        if self.world.truth.rolled_back:
            self.world.truth.rolled_back_seen.add(self.name)

    def admit(self, key_sha256: str) -> RobotRecord | None:
        """Who connects; None while nobody can say."""
        try:
            with self.world.calling("connecting", self.name):
                return self.directory.robot(key_sha256)
        except VolanoError:
            return None

    def order(self, order: Order) -> bool:
        """Obey an operator; whether it is confirmed."""
        if not self.up:
            return False
        self.register.apply(order, canonical_json(order.id))
        self.world.truth.confirmed(self.name, order, self.world.now)
        if self.world.chance(0.1):  # it dies before its answer is heard
            self.crash()
            return False
        return True

    def lease(self, robot: RobotRecord) -> str:
        """Why a robot gets no lease."""
        return self.leases.reason(robot)

    def ask(self, conversation: Conversation, message: Mapping[str, Any]) -> Answer | str:
        """The answer to an observation, or a code."""
        try:
            with self.world.calling("an assignment", self.name):
                answer = LOOP.run_until_complete(self._whole(conversation, message))
        except Crash:
            self.crash()
            raise
        except VolanoError as error:
            return str(error.code)
        return answer

    async def _whole(self, conversation: Conversation, message: Mapping[str, Any]) -> Answer:
        try:
            answer = await self.exchanger.answer(conversation, message, self.world.now)
            self.world.truth.answered(self.name, subject_of(conversation.robot), answer.policy, answer.rollout)
            return answer
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:
                await asyncio.wait(left)

    async def _act(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
        del policy, observation, within_s
        if self.world.chance(0.05):
            self.world.while_thinking(self)
        return _CHUNK

    def _shadow(self, entry: ShadowEntry) -> None:
        self.world.shadows.append({**vars(entry)})

    def _clock(self) -> float:
        return self.world.wall(self.name) + self._skew
