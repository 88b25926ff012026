"""The hand of a rollout: one look gathers what is new, asks the judge, and writes state, verdict and evidence at once.

Everything a verdict was made from stands in its audit row, so `replay` makes every verdict again, bit for bit. A look
may be killed anywhere and repeated: what it wrote counts once. A rollout's end and the policy that it puts in place are
one transaction, so looking at one that has ended changes nothing. Of two that look at the same time, one is refused.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from volano.data.catalogue import believed_among
from volano.data.verdict import UPLOADS
from volano.errors import Code, RolloutError
from volano.flywheel.outcomes import outcomes, shadow_outcomes
from volano.ledger.ledger import Ledger
from volano.ledger.records import Event, Replacement, RolloutRecord
from volano.registry.manifest import Manifest
from volano.rollout import machine
from volano.rollout.evidence import Evidence
from volano.rollout.machine import Slice, Verdict
from volano.rollout.outcome import Outcome, ShadowOutcome
from volano.rollout.plan import Rollout
from volano.rollout.state import NeedsHuman, Promoted, RolledBack, State, state_from_json, state_to_json
from volano.storage.content import canonical_json
from volano.storage.store import ObjectStore

ACTOR = "reconciler"
STARTED, LOOKED, DECIDED = "rollout.started", "rollout.looked", "rollout.decided"


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
    if known is not None and Rollout.from_json(json.loads(known.document)) == document:
        return known
    for digest in (document.current, document.candidate):
        _require_released(ledger, digest, document.embodiments)
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
    now: float | None = None,
) -> Look:
    """Gather, judge, write. Raises RolloutError(E-ROLLOUT-002) for an unknown rollout, LedgerError when another look
    was quicker. Of a rollout that has ended nothing changes."""
    record, known = _known(ledger, rollout_id), status(ledger, rollout_id)
    if not record.active:
        return known
    document, at = known.document, time.time() if now is None else now
    assigned = ledger.assignments(rollout_id)
    arrived = believed_among(store, {f"{UPLOADS}{given.robot}/{given.episode}.json" for given in assigned})
    found = outcomes(assigned, arrived, at, missing_after_s)
    piece = _news(known.evidence, found, shadow_outcomes(rollout_id, shadow_lines), at)
    evidence = known.evidence.extended(piece.outcomes, piece.shadows)
    state, verdict = machine.step(document, known.state, evidence, at)
    looked = Look(document=document, state=state, evidence=evidence, verdicts=(*known.verdicts, verdict))
    payload = {"rollout": rollout_id, "slice": _slice_to_json(piece), "verdict": verdict.to_json()}
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
    person. Raises RolloutError(E-ROLLOUT-002) otherwise, LedgerError when a look was quicker: then nothing changed."""
    record, known = _known(ledger, rollout_id), status(ledger, rollout_id)
    document = known.document
    state, verdict = machine.decide(document, known.state, known.evidence, decision, operator, now)
    payload = {"rollout": rollout_id, "verdict": verdict.to_json(), "reason": reason}
    event = Event(at=now, kind=DECIDED, actor=operator, payload=payload)
    replacement = _promotion(document) if isinstance(state, Promoted) else _return(document)
    ledger.end_rollout(rollout_id, record.revision, _text(state_to_json(state)), event, replacement)
    return Look(document=document, state=state, evidence=known.evidence, verdicts=(*known.verdicts, verdict))


def status(ledger: Ledger, rollout_id: str) -> Look:
    """Where a rollout stands by what was written; nothing is gathered and nothing changes."""
    record = _known(ledger, rollout_id)
    looked = history(ledger, rollout_id)
    return Look(
        document=Rollout.from_json(json.loads(record.document)),
        state=state_from_json(json.loads(record.state)),
        evidence=_evidence(piece for piece, _ in looked),
        verdicts=(*(verdict for _, verdict in looked), *_decided(ledger, rollout_id)),
    )


def history(ledger: Ledger, rollout_id: str) -> list[tuple[Slice, Verdict]]:
    """What arrived at each look of a rollout, and the verdict then, from the audit log."""
    found = []
    for row in ledger.audit():
        if row.kind == LOOKED:
            event = json.loads(row.payload)["event"]
            if event["rollout"] == rollout_id:
                found.append((_slice_from_json(event["slice"]), Verdict.from_json(event["verdict"])))
    return found


def _decided(ledger: Ledger, rollout_id: str) -> Iterator[Verdict]:
    """What people decided, who come after the last look."""
    for row in ledger.audit():
        if row.kind == DECIDED and (event := json.loads(row.payload)["event"])["rollout"] == rollout_id:
            yield Verdict.from_json(event["verdict"])


def replay(ledger: Ledger, rollout_id: str) -> list[tuple[Verdict, Verdict]]:
    """Each verdict as it was written, and as the same inputs make it now; equal unless someone changed something."""
    record = _known(ledger, rollout_id)
    document = Rollout.from_json(json.loads(record.document))
    looked = history(ledger, rollout_id)
    started = next(
        row.at for row in ledger.audit() if row.kind == STARTED and json.loads(row.payload)["rollout"] == rollout_id
    )
    again = machine.replay(document, started, [piece for piece, _ in looked])
    return [(written, made) for (_, written), made in zip(looked, again, strict=True)]


def _require_released(ledger: Ledger, digest: str, embodiments: Iterable[str]) -> None:
    policy = ledger.policy(digest)
    if policy is None or policy.status != "released":
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


def _news(evidence: Evidence, found: Iterable[Outcome], shadows: Iterable[ShadowOutcome], now: float) -> Slice:
    return Slice(
        now=now,
        outcomes=tuple(outcome for outcome in found if evidence.outcomes.get(outcome.episode) != outcome),
        shadows=tuple(shadow for shadow in shadows if evidence.shadows.get(shadow.episode) != shadow),
    )


def _evidence(slices: Iterable[Slice]) -> Evidence:
    evidence = Evidence()
    for piece in slices:
        evidence = evidence.extended(piece.outcomes, piece.shadows)
    return evidence


def _known(ledger: Ledger, rollout_id: str) -> RolloutRecord:
    record = ledger.rollout(rollout_id)
    if record is None:
        raise RolloutError(
            Code.ROLLOUT_STATE, f"there is no rollout {rollout_id!r}", "begin it: volano rollout start FILE"
        )
    return record


def _slice_to_json(piece: Slice) -> dict[str, object]:
    return {
        "now": piece.now,
        "outcomes": [outcome.to_json() for outcome in piece.outcomes],
        "shadows": [shadow.to_json() for shadow in piece.shadows],
    }


def _slice_from_json(data: dict[str, list[object]]) -> Slice:
    return Slice(
        now=float(str(data["now"])),
        outcomes=tuple(Outcome.from_json(outcome) for outcome in data["outcomes"]),
        shadows=tuple(ShadowOutcome.from_json(shadow) for shadow in data["shadows"]),
    )


def _text(data: object) -> str:
    return canonical_json(data).decode()
