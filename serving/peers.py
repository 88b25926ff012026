"""Who is behind which connection of a protocol that names its clients once and never says that one left.

A peer is admitted under its connection's address, holds one observation, the newest, and shares nothing with any
other. Their number is bounded, of one robot and of all; one that says nothing for long is forgotten.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from serving.exchange import MAX_CONVERSATIONS, Conversation
from volano.inference.protocols.dialect import Observed
from volano.inference.protocols.lerobot import Moment, Setup

_MAX_PEERS = 1024
IDLE_S = 120.0
"""A stock client always waits in GetActions; one that has not asked for so long is gone."""
_LIVE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An observation that was not answered yet."""

    observed: Observed
    moment: Moment
    received: float
    """Monotonic seconds."""


@dataclass(kw_only=True, eq=False)
class Peer:
    """One client of one robot."""

    conversation: Conversation
    setup: Setup
    heard: float
    """When it last said something, in monotonic seconds."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the question that is being answered."""
    asked: bool = False
    """It asked for actions, so that somebody waits for them."""
    sending: bool = False
    """An observation is on its way in."""
    _newest: Waiting | None = None
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _answered: int = -1
    """Timestep of the last observation that got its actions."""

    def offer(self, waiting: Waiting) -> None:
        """Let an observation wait for the next question, in place of the one that waits."""
        self._newest = waiting
        self._arrived.set()

    async def take(self, patience_s: float) -> Waiting | None:
        """The newest observation that asks for something new, or None when none comes in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while True:
                    await self._arrived.wait()
                    self._arrived.clear()
                    waiting, self._newest = self._newest, None
                    if waiting is not None and self._is_new(waiting.moment):
                        return waiting
        return None

    def answered(self, moment: Moment) -> None:
        """Note that the client has the actions of this moment."""
        self._answered = moment.timestep

    def _is_new(self, moment: Moment) -> bool:
        """A client sends on until its actions arrive: unless it has none left, it needs no second chunk of a moment."""
        return moment.must_go or moment.timestep != self._answered


class Peers:
    """All of them, by address, the one heard longest ago first."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self._owners: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """The last robot of an address, and when it was admitted there, even when it has begun anew since."""

    def __len__(self) -> int:
        return len(self._peers)

    def admit(self, address: str, peer: Peer) -> bool:
        """Take a peer in, in place of the robot's oldest where it has too many; False when there is no room."""
        self.forget(address)
        self.forget_idle(peer.heard)
        robot = peer.conversation.robot.id
        same = [other for other, known in self._peers.items() if known.conversation.robot.id == robot]
        if len(same) >= MAX_CONVERSATIONS:
            self.forget(same[0])
        if len(self._peers) >= _MAX_PEERS:
            return False
        self._peers[address] = peer
        self._owners[address] = (robot, peer.heard)
        self._owners.move_to_end(address)
        while len(self._owners) > _MAX_PEERS:
            self._owners.popitem(last=False)
        return True

    def is_anothers(self, address: str, robot: str) -> bool:
        """Whether another robot was admitted at an address: two clients in one process share a connection, and could
        not be told apart. An address is not another machine's within the time that is remembered here."""
        return self._owners.get(address, (robot, 0.0))[0] != robot

    def find(self, address: str, now: float) -> Peer | None:
        """The peer at an address, which thereby was heard."""
        self.forget_idle(now)
        peer = self._peers.get(address)
        if peer is not None:
            peer.heard = now
            self._peers.move_to_end(address)
        return peer

    def is_live(self, address: str, now: float) -> bool:
        """Whether somebody at an address waits for actions or did a moment ago."""
        peer = self._peers.get(address)
        return peer is not None and peer.asked and (peer.turn.locked() or now - peer.heard <= _LIVE_S)

    def forget(self, address: str) -> None:
        """Whoever was there has to say anew who it is."""
        self._peers.pop(address, None)

    def forget_idle(self, now: float) -> None:
        """Forget those that were not heard for long."""
        while self._peers:
            address, peer = next(iter(self._peers.items()))
            if now - peer.heard <= IDLE_S:
                return
            del self._peers[address]
