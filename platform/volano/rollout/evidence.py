"""What the episodes of a rollout say: evidence that may be looked at after every episode (`weights`).

Episodes are compared within blocks of one robot and one task, so robots and tasks may differ as they like. Evidence
is a set: whole sums over blocks, in which late uploads replace what was missing and repeats change nothing, whatever
the order of arrival. What is missing counts against promoting the candidate; what never arrived is no evidence of harm.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rpds import HashTrieMap

from volano.rollout.outcome import Outcome, ShadowOutcome, Stopped, merge, merge_shadow, merge_stopped
from volano.rollout.plan import Rollout
from volano.rollout.tally import MICRO, Block, Sums, block_of, combine, sums_of, without
from volano.storage.content import canonical_json, sha256_bytes

_LANES = 1024
_KINDS = {Outcome: b"outcome", ShadowOutcome: b"shadow", Stopped: b"stopped"}
BlockName = tuple[str, str, int]
"""Robot, task and number of a block."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Every outcome of a rollout that arrived so far, and the sums over them. Versions share what they have in common,
    so that keeping an older one costs nothing."""

    document: Rollout
    blocks: "HashTrieMap[BlockName, tuple[Outcome, ...]]"
    latest: "HashTrieMap[tuple[str, str], int]"
    """Last block in which a robot and task have any outcome."""
    shadows: "HashTrieMap[str, ShadowOutcome]"
    stopped: "HashTrieMap[str, Stopped]"
    sums: Sums
    presence: "HashTrieMap[tuple[str, str], int]"
    """Labelled candidate episodes of each robot (`("robot", name)`) and site."""
    fingerprint: bytes
    """LtHash (1024 lanes of 16 bits) over all outcomes: a sum, so it too has one value in every order."""

    @classmethod
    def of(cls, document: Rollout) -> Self:
        """Nothing yet."""
        return cls(
            document=document,
            blocks=HashTrieMap(),
            latest=HashTrieMap(),
            shadows=HashTrieMap(),
            stopped=HashTrieMap(),
            sums={},
            presence=HashTrieMap(),
            fingerprint=bytes(2 * _LANES),
        )

    @property
    def digest(self) -> str:
        """SHA-256 that stands for all outcomes, whatever their order of arrival."""
        return sha256_bytes(self.fingerprint)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Every outcome by episode: for display."""
        return {outcome.episode: outcome for members in self.blocks.values() for outcome in members}

    def knows(self, outcome: Outcome | ShadowOutcome | Stopped) -> bool:
        """Whether taking this record would change nothing."""
        if isinstance(outcome, Stopped):
            stopped = self.stopped.get(outcome.episode)
            return stopped is not None and merge_stopped(stopped, outcome) == stopped
        if isinstance(outcome, ShadowOutcome):
            known = self.shadows.get(outcome.episode)
            return known is not None and merge_shadow(known, outcome) == known
        members = self.blocks.get((outcome.robot, outcome.task, outcome.block), ())
        return _with(members, outcome) == members

    def ordered(self) -> Iterator[Block]:
        """Every block in the canonical order: block, robot, task."""
        for name in sorted(self.blocks, key=lambda name: (name[2], name[0], name[1])):
            yield block_of(self.document, self.blocks[name], passed=name[2] < self.latest[name[0], name[1]])

    def extended(
        self, outcomes: Iterable[Outcome], shadows: Iterable[ShadowOutcome] = (), stopped: Iterable[Stopped] = ()
    ) -> Self:
        """This evidence and more; an episode that is known already is merged, not counted again."""
        work = _Work(self)
        for outcome in outcomes:
            work.take(outcome)
        for shadow in shadows:
            work.take_shadow(shadow)
        for stop in stopped:
            work.take_stopped(stop)
        work.settle()
        return replace(
            self,
            blocks=work.blocks,
            latest=work.latest,
            shadows=work.shadows,
            stopped=work.stopped,
            sums=work.sums,
            presence=work.presence,
            fingerprint=work.fingerprint.tobytes(),
        )


def update(evidence: Evidence, outcome: Outcome | ShadowOutcome) -> Evidence:
    """Evidence with one more outcome; the same outcome twice changes nothing."""
    if isinstance(outcome, ShadowOutcome):
        return evidence.extended((), (outcome,))
    return evidence.extended((outcome,))


class _Work:
    """An evidence on its way to the next one: each outcome's block is taken out of the sums, changed, and put back."""

    def __init__(self, start: Evidence) -> None:
        self.document = start.document
        self.blocks, self.latest, self.shadows, self.stopped = start.blocks, start.latest, start.shadows, start.stopped
        self.sums, self.presence = dict(start.sums), start.presence
        self.changed: dict[BlockName, tuple[Outcome, ...]] = {}
        self.reached: dict[tuple[str, str], int] = {}
        self.fingerprint: NDArray[np.uint16] = np.frombuffer(start.fingerprint, dtype="<u2").copy()

    def take(self, outcome: Outcome) -> None:
        stratum, index = (outcome.robot, outcome.task), outcome.block
        name: BlockName = (*stratum, index)
        before = self.changed.get(name) or self.blocks.get(name, ())
        after = _with(before, outcome)
        if after == before:
            return
        for gone in before:
            if gone not in after:
                self._mark(gone, out=True)
        for come in after:
            if come not in before:
                self._mark(come, out=False)
        self.changed[name] = after
        if index > self.reached.get(stratum, self.latest.get(stratum, -1)):
            self.reached[stratum] = index

    def settle(self) -> None:
        """Put what changed into the sums: blocks with new records, and those that their robot has left behind."""
        earlier = self.latest
        for stratum, index in self.reached.items():
            left: BlockName = (*stratum, earlier.get(stratum, -1))
            if left not in self.changed and (members := self.blocks.get(left)):
                self.changed[left] = members
            self.latest = self.latest.insert(stratum, index)
        for name, after in self.changed.items():
            stratum, index = name[:2], name[2]
            if before := self.blocks.get(name):
                self._count(before, passed=index < earlier[stratum], out=True)
            self._count(after, passed=index < self.latest[stratum], out=False)
            self.blocks = self.blocks.insert(name, after)

    def take_shadow(self, shadow: ShadowOutcome) -> None:
        before = self.shadows.get(shadow.episode)
        after = shadow if before is None else merge_shadow(before, shadow)
        if after == before:
            return
        if before is not None:
            self._mark(before, out=True)
            without(self.sums, _shadow_sums(before))
        self._mark(after, out=False)
        combine(self.sums, _shadow_sums(after))
        self.shadows = self.shadows.insert(after.episode, after)

    def take_stopped(self, stopped: Stopped) -> None:
        before = self.stopped.get(stopped.episode)
        after = stopped if before is None else merge_stopped(before, stopped)
        if after == before:
            return
        if before is not None:
            self._mark(before, out=True)
            without(self.sums, {"stopped": (before.safety_stops,)})
        self._mark(after, out=False)
        combine(self.sums, {"stopped": (after.safety_stops,)})
        self.stopped = self.stopped.insert(after.episode, after)

    def _count(self, members: tuple[Outcome, ...], *, passed: bool, out: bool) -> None:
        block = block_of(self.document, members, passed=passed)
        change = sums_of(self.document, block)
        if out:
            without(self.sums, change)
        else:
            combine(self.sums, change)
        if block.b is not None and block.b.success is not None:
            for kind, name in (("robot", block.b.robot), ("site", block.b.site)):
                self._present(kind, name, -1 if out else 1)

    def _present(self, kind: str, name: str, by: int) -> None:
        number = self.presence.get((kind, name), 0) + by
        if number:
            self.presence = self.presence.insert((kind, name), number)
        else:
            self.presence = self.presence.remove((kind, name))
        if number == (1 if by > 0 else 0):
            combine(self.sums, {f"{kind}s": (by,)})

    def _mark(self, outcome: Outcome | ShadowOutcome | Stopped, *, out: bool) -> None:
        spread = hashlib.shake_128(_KINDS[type(outcome)] + canonical_json(outcome.to_json())).digest(2 * _LANES)
        lanes = np.frombuffer(spread, dtype="<u2")
        self.fingerprint = self.fingerprint - lanes if out else self.fingerprint + lanes


def _with(members: tuple[Outcome, ...], outcome: Outcome) -> tuple[Outcome, ...]:
    """Members of a block with one more record, in the order of their episodes."""
    known = [one for one in members if one.episode == outcome.episode]
    rest = [one for one in members if one.episode != outcome.episode]
    return tuple(sorted([*rest, merge(known[0], outcome) if known else outcome], key=lambda one: one.episode))


def _shadow_sums(shadow: ShadowOutcome) -> Sums:
    means = (round(total * MICRO) for total in (shadow.distance, shadow.clamped, shadow.latency_s))
    return {"shadow": (int(shadow.answers > 0), shadow.answers, shadow.invalid, shadow.late, *means)}
