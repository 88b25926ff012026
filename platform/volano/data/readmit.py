"""Readmits an upload that a person found sound all the same: looked at again, recorded, claimed, audited.

Only findings that `remedies` calls overrulable can be overruled, and every other check has to hold: the verdict names
the first finding alone, so the bytes are checked again, in the sandbox, with the overruled ones left out. Each effect
is a conditional put, so that readmitting twice, at once or after a kill, ends in the same store.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.judge import Check, fetch_bundle, read_manifest
from volano.data.readmission import Readmission, readmission_key
from volano.data.recall import recalled
from volano.data.remedies import require_overrulable
from volano.data.sandbox import Bundle
from volano.data.text import words
from volano.data.validate import check_claims
from volano.data.verdict import Verdict, claim, owner, verdict_of
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError, SystemMissingError
from volano.ledger.ledger import Ledger
from volano.storage.store import ObjectStore

READMITTED = "data.readmitted"
"""Kind of the audit row."""


def propose(
    store: ObjectStore,
    upload: str,
    *,
    also: Sequence[str],
    reason: str,
    by: str,
    now: float,
    known: Mapping[str, Embodiment],
    check: Check,
) -> Readmission:
    """The readmission that `readmit` would carry out; writes nothing. One that stands already, or was begun, is
    answered as it is. `also` are codes that the person overrules besides the verdict's own.

    Raises DataError: E-DATA-070 for an upload that is not in quarantine or has a finding that is not overruled,
    E-DATA-007 when another upload owns its content, E-DATA-071 when the content was recalled, E-DATA-072 when there is
    no such upload; ConfigError for words that cannot be kept; StorageError when the store fails.
    """
    said = {"reason": words(reason, "the reason"), "by": words(by, "the name")}
    verdict = _quarantined(store, upload)
    _require_free(store, verdict)
    if store.exists(readmission_key(upload)):
        return Readmission.from_bytes(store.get(readmission_key(upload)))
    codes = tuple(dict.fromkeys(require_overrulable(code) for code in (verdict.code, *also)))
    finding = _look(store, verdict, codes, known, check)
    if finding is not None:
        raise _still(upload, finding)
    return Readmission(upload=upload, content_id=verdict.content_id, codes=codes, at=now, **said)


def readmit(store: ObjectStore, ledger: Ledger | None, proposed: Readmission) -> Readmission:
    """Carry out what `propose` answered, and write it into the ledger's audit where there is a ledger. Returns the
    readmission that stands. Raises DataError(E-DATA-007) when another upload took the content meanwhile."""
    key = readmission_key(proposed.upload)
    if not store.put_new(key, proposed.to_bytes()):
        proposed = Readmission.from_bytes(store.get(key))
    owning = claim(store, proposed.content_id, proposed.upload)
    if owning != proposed.upload:
        raise _taken(owning)
    if ledger is not None:
        payload = {"upload": proposed.upload, "content": proposed.content_id, "reason": proposed.reason}
        ledger.record_once(READMITTED, proposed.by, {**payload, "codes": list(proposed.codes)}, proposed.at)
    return proposed


def _quarantined(store: ObjectStore, upload: str) -> Verdict:
    verdict = verdict_of(store, upload)
    if verdict is not None and verdict.verdict == "quarantined":
        return verdict
    state = verdict.verdict if verdict is not None else "in flight"
    fix = "see why: volano data quarantine show" if verdict is not None else "judge it first: volano data ingest"
    raise DataError(Code.DATA_READMIT, f"{upload} is {state}, not in quarantine", fix)


def _require_free(store: ObjectStore, verdict: Verdict) -> None:
    owning = owner(store, verdict.content_id)
    if owning not in {"", verdict.upload}:
        raise _taken(owning)
    if verdict.content_id in recalled(store):
        raise DataError(
            Code.DATA_RECALL, f"the content of {verdict.upload} was recalled", "a recall is final: record it again"
        )


def _look(
    store: ObjectStore, verdict: Verdict, codes: tuple[Code, ...], known: Mapping[str, Embodiment], check: Check
) -> Finding | None:
    """What is wrong with an upload besides what is overruled."""
    manifest = read_manifest(store, verdict.upload)
    if manifest.content_id != verdict.content_id:
        return Finding.of(Code.DATA_HASH, "its manifest was changed after it was judged")
    finding = check_claims(manifest, verdict.upload, known)
    if finding is not None:
        return finding
    with tempfile.TemporaryDirectory(prefix="volano-readmit-") as scratch:
        return _check(store, manifest, Path(scratch) / "bundle", codes, known, check)


def _check(
    store: ObjectStore,
    manifest: Manifest,
    folder: Path,
    codes: tuple[Code, ...],
    known: Mapping[str, Embodiment],
    check: Check,
) -> Finding | None:
    finding = fetch_bundle(store, manifest, folder)
    if finding is not None:
        return finding
    embodiment = known[manifest.fingerprint]
    [found] = check([Bundle(folder=folder, manifest=manifest, embodiment=embodiment, overruled=codes)])
    if not isinstance(found, Finding):
        return None
    if found.code == Code.SYSTEM_SANDBOX:
        raise SystemMissingError(found.code, found.evidence, "nothing was written: repeat the command")
    return found


def _taken(owning: str) -> DataError:
    cause = f"its content is accepted already, as {owning}"
    return DataError(Code.DATA_DUPLICATE, cause, "nothing is lost: that upload stands for both")


def _still(upload: str, finding: Finding) -> DataError:
    cause = f"{upload} has another finding, {finding.code}: {finding.evidence}"
    try:
        require_overrulable(finding.code)
    except DataError as error:
        return DataError(Code.DATA_READMIT, cause, error.fix)
    return DataError(Code.DATA_READMIT, cause, f"when it is sound all the same, add --also {finding.code}")
