"""A simulated robot: a clock of its own, a lease, and episodes that it drives and brings, however late."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.exchange import Conversation
from tests.sweeps.rollouts.faults import Crash
from tests.sweeps.rollouts.gateway import Gateway
from tests.sweeps.rollouts.truth import SLOWEST
from tests.sweeps.rollouts.world import World
from tests.unit.data.bundles import ROVER
from volano.data.episode import FileEntry, Manifest, Outcome, Segment
from volano.data.verdict import UPLOADS, Verdict, verdict_key
from volano.inference.hold.lease import LEASE_S, Lease
from volano.inference.hold.state import Subject
from volano.inference.protocols.dialect import Answer
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key
from volano.storage.content import sha256_bytes

TASKS = ("red", "blue")
_PATIENCE_S, _LONGEST_S = 3.0, 20.0
_PICTURES = {image_key(one.name): np.zeros((one.height, one.width, 3), np.uint8) for one in ROVER.cameras}
_SEEN: dict[str, Any] = {**_PICTURES, STATE: np.zeros(len(ROVER.state), np.float32), PROMPT: "go"}


class Robot:
    """One of them; it ticks once a second."""

    def __init__(self, world: World, gateways: Sequence[Gateway], name: str, site: str, episodes: int) -> None:
        self.world, self._gateways, self.name = world, gateways, name
        self.subject = Subject(robot=name, embodiment="rover", site=site)
        self.left = episodes
        """That it will begin."""
        self._rate, self._start = world.random.uniform(SLOWEST, 1.03), world.random.uniform(0, 1e6)
        self.lease = Lease()
        self.may_act = True
        """At the end nothing keeps it from acting."""
        self._tasks = world.random.choice((1, 1, 1, 2))
        self._horizon = world.random.choice((3, 14))
        """Ticks that a chunk lasts."""
        self._stock = world.random.random() < 0.2
        """It knows no lease, and asks whatever happens."""
        self._conversation: Conversation | None = None
        self._at: tuple[Gateway, int] = (gateways[0], 0)
        self._begun = 0
        self.episode = ""
        self._rows: list[str] = []
        self._asked: tuple[int, float] | None = None
        self._questions = self._tick = self._done = self._length = 0
        self._since = 0.0
        world.every(1.0, self.tick)

    def tick(self) -> None:
        """Renew, act, ask."""
        if not self._connected():
            return
        self._renew()
        if self.episode:
            self._act()
        elif self.left:
            self._begin()
        if self.episode and not self._rows and (self._stock or not self.lease.problem(self._steady())):
            self._ask()

    def _steady(self) -> float:
        return self.world.now * self._rate + self._start

    def _connected(self) -> bool:
        gateway, life = self._at
        if self._conversation is not None and gateway.up and gateway.life == life and not self.world.chance(0.01):
            return True
        self._conversation, self._asked = None, None
        gateway = self.world.random.choice(self._gateways)
        if not gateway.up or not self.world.reaches(self.name):
            self._act_on()
            return False
        record = gateway.admit(hashlib.sha256(f"key of {self.name}".encode()).hexdigest())
        if record is not None:
            self._questions += 1
            self._conversation = Conversation(
                connection=f"{self.name}-{self._questions}", key_sha256="", robot=record, protocol="openpi"
            )
            self._conversation.key_sha256 = hashlib.sha256(f"key of {self.name}".encode()).hexdigest()
            self._at = gateway, gateway.life
        return self._conversation is not None

    def _act_on(self) -> None:
        """Without a connection it goes on with what it has, while its lease lasts."""
        if self.episode and self._rows:
            self._act()

    def _renew(self) -> None:
        number, conversation, (gateway, life) = self.lease.ask(self._steady()), self._conversation, self._at
        assert conversation is not None
        robot = conversation.robot

        def arrive() -> None:
            if not gateway.up or gateway.life != life:
                return
            why = gateway.lease(robot)
            answer = (lambda: self.lease.stop(why)) if why else (lambda: self.lease.grant(number, LEASE_S))
            self.world.send(self.name, answer, late=0.2)

        self.world.send(self.name, arrive)

    def _task(self, episode: str) -> str:
        return TASKS[int(episode[1:]) % self._tasks]

    @property
    def episodes(self) -> set[str]:
        """That it has begun."""
        return {_named(number) for number in range(1, self._begun + 1)}

    def _begin(self) -> None:
        self.left -= 1
        self._begun += 1
        self.episode, self._tick, self._done, self._since = _named(self._begun), 0, 0, self.world.now
        self._length = self.world.random.randint(2, 5 if self._horizon == 3 else 14)

    def _act(self) -> None:
        if self.lease.problem(self._steady()):
            self._rows.clear()
        elif self._rows:
            policy = self._rows.pop()
            names = [gateway.name for gateway in self._gateways]
            self.world.truth.acted(self.subject, self.episode, policy, names, self.world.now)
            self.world.note(self.name, self.episode, policy[:4])
            self._done += 1
        if self._done >= self._length or self.world.now - self._since > _LONGEST_S:
            self._end()

    def _ask(self) -> None:
        if self._asked is not None and self.world.now - self._asked[1] < _PATIENCE_S:
            return
        self._questions, self._tick = self._questions + 1, self._tick + 1
        question, episode, conversation, (gateway, life) = self._questions, self.episode, self._conversation, self._at
        assert conversation is not None
        self._asked = question, self.world.now
        task = self._task(episode)
        fields = {"robot": self.name, "embodiment": ROVER.fingerprint, "task": task, "episode": episode}
        message = {**_SEEN, IDENTITY: {**fields, "tick": self._tick}}

        def arrive() -> None:
            if not gateway.up or gateway.life != life:
                return
            try:
                answer = gateway.ask(conversation, message)
            except Crash:
                return
            self.world.send(self.name, lambda: self._hear(question, episode, answer))

        self.world.send(self.name, arrive)

    def _hear(self, question: int, episode: str, answer: Answer | str) -> None:
        if self._asked is None or self._asked[0] != question or episode != self.episode:
            return
        self._asked = None
        if isinstance(answer, str):
            self.world.counts[answer] += 1
            self.world.note(self.name, episode, answer)
            if answer.startswith(("E-ROLLOUT", "E-WIRE")):
                self._end()
        else:
            self._rows = [answer.policy] * self._horizon

    def _end(self) -> None:
        world, name = self.world, f"{self.name}/{self.episode}"
        ran = sorted(world.truth.executed.get((self.name, self.episode), ()))
        success = world.random.random() < world_rate(world, ran)
        task = self._task(self.episode)
        manifest = _manifest(self.name, self.episode, task, ran, success=success, at=world.wall(self.name))
        self.episode, self._asked = "", None
        self._rows.clear()
        offline = world.chance(0.3)
        world.counts["uploads from offline robots"] += offline
        seconds = world.random.uniform(10, 40) if offline else world.random.expovariate(0.3)
        for _ in range(1 + world.chance(0.1)):
            world.after(seconds + world.random.uniform(0, 3), lambda: deliver(world, name, manifest, success=success))


def _named(number: int) -> str:
    return f"e{number:03d}"


def world_rate(world: World, ran: Sequence[str]) -> float:
    """How often a policy succeeds here."""
    return RATES[int(world.plan.salt[-1])][ran == [world.plan.candidate]]


RATES = ((0.1, 0.98), (0.95, 0.05), (0.6, 0.6))
"""Of the current policy and of the candidate, by the salt's last digit."""


def deliver(world: World, name: str, manifest: Manifest, *, success: bool) -> None:
    """Upload and verdict, as often as it is sent."""
    upload = f"{UPLOADS}{name}.json"
    new = world.store.put_new(upload, manifest.to_bytes())
    world.counts["uploads" if new else "uploads sent again"] += 1
    verdict = Verdict(upload=upload, content_id=manifest.content_id, verdict="accepted", code="", evidence="")
    world.store.put_new(verdict_key(upload), verdict.to_bytes())
    world.truth.delivered.setdefault(name, success)


def _manifest(robot: str, episode: str, task: str, ran: Sequence[str], *, success: bool, at: float) -> Manifest:
    name = f"{robot}/{episode}"
    return Manifest(
        schema="volano.episode.1",
        attempt=episode,
        robot=robot,
        embodiment="rover",
        fingerprint=ROVER.fingerprint,
        task=task,
        instruction="go",
        started_at=at,
        rate_hz=5.0,
        frames=20,
        segments=(Segment(start=0, end=20, kind="autonomous"),),
        outcome=Outcome(success=success, autonomous=True, source="script"),
        policies=tuple(ran),
        rollout="",
        arm="",
        files={"steps.parquet": FileEntry(size=1, sha256=sha256_bytes(name.encode()))},
    )
