"""Talks of robots over transports that have no connection to end: each peer's conversation, bounded per robot.

A peer is whoever the transport can tell apart. What a silent peer leaves behind is forgotten; a robot with more peers
than it may have loses its oldest.
"""

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serving.admission import Admission, Caller
from serving.exchange import MAX_CONVERSATIONS, Conversation
from serving.keys import digest_of
from serving.refusals import RefusalLog
from serving.routes import RobotRecord
from volano.errors import ServeError, WireError

_LOG = logging.getLogger(__name__)
_IDLE_S = 600.0
"""Longer than the silence after which a stock client begins a new episode anyway."""


@dataclass(kw_only=True)
class _Talk:
    conversation: Conversation
    used_at_s: float


class Talks:
    """Who is who among the peers of one listener."""

    def __init__(
        self, admission: Admission[RobotRecord], protocol: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`protocol` is what they all speak; `clock` gives monotonic seconds."""
        self._admission = admission
        self._protocol = protocol
        self._clock = clock
        self._talks: OrderedDict[bytes, _Talk] = OrderedDict()
        """By peer, the one that was silent for longest first."""
        self._refusals = RefusalLog("requests", clock)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._talks

    def forget(self, peer: bytes) -> None:
        """A peer is gone for good."""
        self._talks.pop(peer, None)

    async def of(self, peer: bytes, key: str, caller: Caller) -> Conversation:
        """The talk of a peer that shows this key, a new one where there is none yet or it showed another. Raises like
        `Admission.robot`."""
        now = self._clock()
        self._forget(now)
        digest = digest_of(key)
        talk = self._talks.get(peer)
        if talk is None or not _is_of(talk, digest, caller):
            begun = await self._begin(key, caller, now)
            talk = self._talks.get(peer)
            if talk is None or not _is_of(talk, digest, caller):  # else another question was faster
                talk = self._talks[peer] = begun
                self._bound(talk.conversation.robot.id)
        talk.used_at_s = now
        self._talks.move_to_end(peer)
        return talk.conversation

    async def _begin(self, key: str, caller: Caller, now: float) -> _Talk:
        try:
            robot = await self._admission.robot(key, caller, self._protocol)
        except (WireError, ServeError) as error:
            self._refusals.note(caller.address, error.cause)
            raise
        conversation = Conversation(
            connection=secrets.token_hex(16),
            key_sha256=digest_of(key),
            robot=robot,
            protocol=self._protocol,
            certificate=caller.certificate,
        )
        return _Talk(conversation=conversation, used_at_s=now)

    def _forget(self, now: float) -> None:
        while self._talks:
            peer, talk = next(iter(self._talks.items()))
            if now - talk.used_at_s <= _IDLE_S:
                return
            del self._talks[peer]

    def _bound(self, robot: str) -> None:
        peers = [peer for peer, talk in self._talks.items() if talk.conversation.robot.id == robot]
        for peer in peers[:-MAX_CONVERSATIONS]:
            _LOG.warning("robot %s has more than %d peers: the oldest is forgotten", robot, MAX_CONVERSATIONS)
            del self._talks[peer]


def _is_of(talk: _Talk, key_sha256: str, caller: Caller) -> bool:
    conversation = talk.conversation
    return conversation.key_sha256 == key_sha256 and conversation.certificate == caller.certificate
