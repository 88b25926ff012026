"""The law of the flywheel, computed from the store alone: uploaded = accepted + quarantined + rejected + in flight.

Verdicts come from the catalogue where it has them; keys are always listed.
An upload that was quarantined and readmitted counts as accepted. Readmissions are listed before verdicts, and verdicts
before uploads, so that what arrives meanwhile counts as it stood before, and never as a contradiction.
"""

from collections import Counter
from dataclasses import dataclass

from volano.data.catalogue import judged
from volano.data.readmission import readmissions
from volano.data.verdict import CLAIMS, Verdict, claim_key, uploads, verdict_key
from volano.errors import Code, DataError
from volano.storage.store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Where every upload stands."""

    uploaded: int
    accepted: int
    quarantined: dict[str, int]
    """Code to number of uploads."""
    rejected: dict[str, int]
    """Code to number of uploads."""
    in_flight: int


def count(store: ObjectStore) -> Counts:
    """Count the store's uploads; raises DataError(E-DATA-016) when one was lost or counted twice."""
    readmitted = readmissions(store)
    found = judged(store)
    verdicts = list(found.values())
    claims = {info.key for info in store.list(CLAIMS)}
    sent = set(uploads(store))
    for key, verdict in found.items():
        _require(key == verdict_key(verdict.upload), f"{key} is the verdict of {verdict.upload}")
        _require(verdict.upload in sent, f"{verdict.upload} has a verdict but is gone")
    quarantined = {verdict.upload: verdict.content_id for verdict in verdicts if verdict.verdict == "quarantined"}
    for upload, readmission in readmitted.items():
        _require(quarantined.get(upload) == readmission.content_id, f"{upload} was readmitted from no quarantine")
    accepted = [verdict for verdict in verdicts if verdict.verdict == "accepted" or verdict.upload in readmitted]
    contents = {verdict.content_id for verdict in accepted}
    _require(len(contents) == len(accepted), "a content was accepted twice")
    for verdict in accepted:
        _require(claim_key(verdict.content_id) in claims, f"{verdict.upload} was accepted without a claim")
    counts = Counts(
        uploaded=len(sent),
        accepted=len(accepted),
        quarantined=_by_code([verdict for verdict in verdicts if verdict.upload not in readmitted], "quarantined"),
        rejected=_by_code(verdicts, "rejected"),
        in_flight=len(sent - {verdict.upload for verdict in verdicts}),
    )
    told = counts.accepted + sum(counts.quarantined.values()) + sum(counts.rejected.values()) + counts.in_flight
    _require(counts.uploaded == told, f"{counts.uploaded} uploads, {told} accounted for")
    return counts


def _by_code(verdicts: list[Verdict], which: str) -> dict[str, int]:
    return dict(sorted(Counter(verdict.code for verdict in verdicts if verdict.verdict == which).items()))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise DataError(Code.DATA_CONSERVATION, what, "restore the store's objects; nothing may delete them")
