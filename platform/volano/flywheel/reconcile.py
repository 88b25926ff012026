"""The hand of a rollout: one look gathers what is new, asks the judge, and writes state, verdict and evidence at once.

Everything a verdict was made from stands in its audit row, so `replay` makes every verdict again, bit for bit. A look
may be killed anywhere and repeated: what it wrote counts once. A rollout's end and the policy that it puts in place are
one transaction, so looking at one that has ended changes nothing. Of two that look at the same time, one is refused.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from volano.data.catalogue import believed_among
from volano.data.verdict import UPLOADS
from volano.errors import Code, RolloutError
from volano.flywheel.outcomes import measures, outcomes, shadow_outcomes, stopped
from volano.flywheel.released import RELEASED
from volano.ledger.ledger import Ledger
from volano.ledger.records import Event, Replacement, RolloutRecord
from volano.registry.manifest import Manifest
from volano.rollout import machine
from volano.rollout.code import code_digest
from volano.rollout.evidence import Evidence
from volano.rollout.machine import Decision, Slice, Verdict
from volano.rollout.outcome import Outcome, ShadowOutcome, Stopped
from volano.rollout.plan import Rollout, readable
from volano.rollout.state import NeedsHuman, Promoted, RolledBack, State, state_from_json, state_to_json
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.store import ObjectStore

ACTOR = "reconciler"
STARTED, LOOKED, DECIDED = "rollout.started", "rollout.looked", "rollout.decided"
ABANDONED = "rollout.abandoned"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look found and decided."""

    document: Rollout
    state: State
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    """Every verdict so far, this look's last."""

    @property
    def ended(self) -> bool:
        """Whether assignment follows this rollout no more."""
        return isinstance(self.state, Promoted | RolledBack | NeedsHuman)


def start(ledger: Ledger, document: Rollout, now: float, actor: str) -> RolloutRecord:
    """Begin a rollout; beginning the same one again changes nothing. Raises LedgerError when another is active, and
    RolloutError(E-ROLLOUT-001) for a policy that was not released, or not for every embodiment of the plan."""
    known = ledger.rollout(document.id)
    if known is not None and readable(known.document) == document:
        return known
    require_ready(ledger, document)
    state = machine.begin(document, now)
    event = Event(at=now, kind=STARTED, actor=actor, payload={"rollout": document.id, "digest": document.digest})
    return ledger.create_rollout(document.id, _text(document.to_json()), _text(state_to_json(state)), event)


def look(
    ledger: Ledger,
    store: ObjectStore,
    rollout_id: str,
    shadow_lines: Iterable[Mapping[str, object]],
    *,
    missing_after_s: float,
    access_lines: Iterable[Mapping[str, object]] = (),
    now: float | None = None,
) -> Look:
    """Gather, judge, write; the lines are the gateway's shadow journal and access log.

    Raises RolloutError(E-ROLLOUT-002) for an unknown rollout, E-ROLLOUT-001 instead of promoting a candidate that was
    withdrawn meanwhile, LedgerError when another look was quicker: then nothing changed. Of a rollout that has ended
    nothing changes.
    """
    record, known = _known(ledger, rollout_id), status(ledger, rollout_id)
    if not record.active:
        return known
    document, at = known.document, time.time() if now is None else now
    assigned = ledger.assignments(rollout_id)
    arrived = believed_among(store, {f"{UPLOADS}{given.robot}/{given.episode}.json" for given in assigned})
    sites = {robot.id: robot.site for robot in ledger.robots()}
    found = outcomes(assigned, arrived, at, missing_after_s, sites, measures(access_lines))
    others = stopped(assigned, arrived, document.candidate)
    piece = _news(known.evidence, found, shadow_outcomes(rollout_id, shadow_lines), others, at)
    evidence = known.evidence.extended(piece.outcomes, piece.shadows, piece.stopped)
    state, verdict = machine.step(document, known.state, evidence, at)
    if isinstance(state, Promoted):
        _require_put_in_place(ledger, rollout_id, document.candidate)
    looked = Look(document=document, state=state, evidence=evidence, verdicts=(*known.verdicts, verdict))
    payload = {
        "rollout": rollout_id,
        "slice": _slice_to_json(piece),
        "verdict": verdict.to_json(),
        "code": code_digest(),
    }
    ledger.advance_rollout(
        rollout_id,
        record.revision,
        _text(state_to_json(state)),
        Event(at=at, kind=LOOKED, actor=ACTOR, payload=payload),
        ended=looked.ended,
        replacement=_promotion(document) if isinstance(state, Promoted) else None,
    )
    return looked


def decide(
    ledger: Ledger, rollout_id: str, decision: Literal["promote", "rollback"], *, operator: str, reason: str, now: float
) -> Look:
    """A person ends a rollout: rolling back is allowed until it is rolled back, promoting only where it waits for a
    person. Raises RolloutError(E-ROLLOUT-002) otherwise, E-ROLLOUT-001 when it would put a policy in place that was
    withdrawn, LedgerError when a look was quicker: then nothing changed."""
    record, known, after, event = _decision(ledger, rollout_id, decision, operator, reason, now)
    replacement = _promotion(known.document) if isinstance(after.state, Promoted) else _return(known.document)
    in_place = ledger.current_policies()
    moves = any(in_place.get(fingerprint) == replacement.old for fingerprint in replacement.embodiments)
    if moves or isinstance(after.state, Promoted):
        _require_put_in_place(ledger, rollout_id, replacement.new)
    ledger.end_rollout(rollout_id, record.revision, _text(state_to_json(after.state)), event, replacement)
    return after


def abandon(ledger: Ledger, rollout_id: str, *, operator: str, reason: str, now: float) -> bool:
    """A person ends an active rollout whose document these rules cannot read: what is in place stays, and no verdict is
    made. False, and nothing changed, for every other rollout. Raises RolloutError(E-ROLLOUT-002) for an unknown one,
    LedgerError when another step was quicker."""
    record = _known(ledger, rollout_id)
    if not record.active or readable(record.document) is not None:
        return False
    payload = {
        "rollout": rollout_id,
        "reason": reason,
        "why": "its document cannot be read",
        "document_sha256": sha256_bytes(record.document.encode()),
    }
    state = RolledBack(since=now, reason=f"{operator} ended it: its document cannot be read")
    event = Event(at=now, kind=ABANDONED, actor=operator, payload=payload)
    ledger.advance_rollout(rollout_id, record.revision, _text(state_to_json(state)), event, ended=True)
    return True


def resume(ledger: Ledger, rollout_id: str, *, operator: str, reason: str, now: float) -> Look:
    """A person ends a hold: the next step begins. Raises as `decide` does."""
    record, _, after, event = _decision(ledger, rollout_id, "resume", operator, reason, now)
    ledger.advance_rollout(rollout_id, record.revision, _text(state_to_json(after.state)), event)
    return after


def _decision(
    ledger: Ledger, rollout_id: str, decision: Decision, operator: str, reason: str, now: float
) -> tuple[RolloutRecord, Look, Look, Event]:
    record, known = _known(ledger, rollout_id), status(ledger, rollout_id)
    state, verdict = machine.decide(known.document, known.state, known.evidence, decision, operator, now)
    payload = {
        "rollout": rollout_id,
        "decision": decision,
        "verdict": verdict.to_json(),
        "reason": reason,
        "code": code_digest(),
    }
    event = Event(at=now, kind=DECIDED, actor=operator, payload=payload)
    return record, known, replace(known, state=state, verdicts=(*known.verdicts, verdict)), event


def status(ledger: Ledger, rollout_id: str) -> Look:
    """Where a rollout stands by what was written; nothing is gathered and nothing changes."""
    record = _known(ledger, rollout_id)
    document = _document(record)
    looked = history(ledger, rollout_id)
    return Look(
        document=document,
        state=state_from_json(json.loads(record.state)),
        evidence=_evidence(document, (piece for piece, _ in looked)),
        verdicts=tuple(verdict for _, verdict in looked),
    )


def history(ledger: Ledger, rollout_id: str) -> list[tuple[Slice, Verdict]]:
    """What arrived at each look of a rollout or was decided by a person, and the verdict then, from the audit log."""
    found = []
    for row in ledger.audit():
        if row.kind not in {LOOKED, DECIDED}:
            continue
        event = json.loads(row.payload)["event"]
        if event["rollout"] != rollout_id:
            continue
        if row.kind == LOOKED:
            piece = _slice_from_json(event["slice"])
        else:
            piece = Slice(now=row.at, decision=event["decision"], operator=row.actor)
        found.append((piece, Verdict.from_json(event["verdict"])))
    return found


def replay(ledger: Ledger, rollout_id: str) -> list[tuple[Verdict, Verdict]]:
    """Each verdict as it was written, and as the same inputs make it now; equal unless someone changed something."""
    record = _known(ledger, rollout_id)
    document = _document(record)
    looked = history(ledger, rollout_id)
    started = next(
        row.at for row in ledger.audit() if row.kind == STARTED and json.loads(row.payload)["rollout"] == rollout_id
    )
    again = machine.replay(document, started, [piece for piece, _ in looked])
    return [(written, made) for (_, written), made in zip(looked, again, strict=True)]


def require_ready(ledger: Ledger, document: Rollout) -> None:
    """Raises RolloutError(E-ROLLOUT-001) for a policy that was not released, or not for all embodiments of the plan."""
    for digest in (document.current, document.candidate):
        _require_released(ledger, digest, document.embodiments)


def _require_put_in_place(ledger: Ledger, rollout_id: str, digest: str) -> None:
    """Raises RolloutError(E-ROLLOUT-001) for a policy that is not released now, whatever it was at the start."""
    policy = ledger.policy(digest)
    if policy is None or policy.status != RELEASED:
        raise RolloutError(
            Code.ROLLOUT_PLAN,
            f"rollout {rollout_id!r} would put policy {digest[:12]} in place, which is not released any more",
            "roll the rollout back, release the policy again, or roll another one out",
        )


def _require_released(ledger: Ledger, digest: str, embodiments: Iterable[str]) -> None:
    policy = ledger.policy(digest)
    if policy is None or policy.status != RELEASED:
        raise RolloutError(
            Code.ROLLOUT_PLAN,
            f"policy {digest[:12]} was never released",
            "name policies that passed the gate and were released",
        )
    strange = set(embodiments) - set(Manifest.from_bytes(policy.manifest.encode()).embodiments.values())
    if strange:
        raise RolloutError(
            Code.ROLLOUT_PLAN,
            f"policy {digest[:12]} does not serve the embodiment with fingerprint {min(strange)[:12]}",
            "name embodiments that both policies serve",
        )


def _promotion(document: Rollout) -> Replacement:
    return Replacement(embodiments=document.embodiments, old=document.current, new=document.candidate)


def _return(document: Rollout) -> Replacement:
    return Replacement(embodiments=document.embodiments, old=document.candidate, new=document.current)


def _news(
    evidence: Evidence,
    found: Iterable[Outcome],
    shadows: Iterable[ShadowOutcome],
    others: Iterable[Stopped],
    now: float,
) -> Slice:
    return Slice(
        now=now,
        outcomes=tuple(outcome for outcome in found if not evidence.knows(outcome)),
        shadows=tuple(shadow for shadow in shadows if not evidence.knows(shadow)),
        stopped=tuple(other for other in others if not evidence.knows(other)),
    )


def _evidence(document: Rollout, slices: Iterable[Slice]) -> Evidence:
    evidence = Evidence.of(document)
    for piece in slices:
        evidence = evidence.extended(piece.outcomes, piece.shadows, piece.stopped)
    return evidence


def _known(ledger: Ledger, rollout_id: str) -> RolloutRecord:
    record = ledger.rollout(rollout_id)
    if record is None:
        raise RolloutError(
            Code.ROLLOUT_STATE, f"there is no rollout {rollout_id!r}", "begin it: volano rollout start FILE"
        )
    return record


def _document(record: RolloutRecord) -> Rollout:
    document = readable(record.document)
    if document is None:
        raise RolloutError(
            Code.ROLLOUT_PLAN,
            f"the document of rollout {record.id!r} is of other rules than these",
            f"if it is active, end it: volano rollout rollback {record.id} --reason TEXT",
        )
    return document


def _slice_to_json(piece: Slice) -> dict[str, object]:
    return {
        "now": piece.now,
        "outcomes": [outcome.to_json() for outcome in piece.outcomes],
        "shadows": [shadow.to_json() for shadow in piece.shadows],
        "stopped": [stopped.to_json() for stopped in piece.stopped],
    }


def _slice_from_json(data: dict[str, list[object]]) -> Slice:
    return Slice(
        now=float(str(data["now"])),
        outcomes=tuple(Outcome.from_json(outcome) for outcome in data["outcomes"]),
        shadows=tuple(ShadowOutcome.from_json(shadow) for shadow in data["shadows"]),
        stopped=tuple(Stopped.from_json(stopped) for stopped in data["stopped"]),
    )


def _text(data: object) -> str:
    return canonical_json(data).decode()
