"""Making whole bundles of what a robot's disk holds of attempts that were cut off.

Of a torn attempt the ticks are kept that were written whole, each with the frame of every camera, by the checksums of
its journal. The bundle's manifest says that nobody saw the end (outcome source `repair`), and a note beside it what
was dropped. A whole bundle and an attempt under way are never touched; a repair that is killed or repeated ends the
same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal

from volano.data.assemble import Survey, commit, survey, write_files
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE, REPAIRED_FILE
from volano.data.episode import Outcome
from volano.data.finding import Finding
from volano.data.recording import open_journal
from volano.data.sandbox import Bundle
from volano.data.text import strict_object
from volano.errors import Code, DataError
from volano.storage.content import canonical_json
from volano.storage.files import cannot_write, replace_file

Check = Callable[[Sequence[Bundle]], list[Finding | None]]
"""`sandbox.check_bundles` with its limits: what ingest will find."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What becomes, or became, of one folder of the robot's disk."""

    attempt: str
    status: Literal["whole", "under way", "torn", "repaired", "hopeless"]
    """`torn` can be repaired, `hopeless` cannot: not one tick of it is whole, or it is no episode."""
    kept: int = 0
    """Ticks."""
    dropped: int = 0
    """Ticks that were written, but not with the frame of every camera."""
    dropped_bytes: int = 0
    """Bytes of the journal that cannot be believed."""
    reason: str = ""
    """Why anything was dropped; empty when nothing was."""
    finding: str = ""
    """The code with which ingest will quarantine the repaired bundle; empty when it will accept it."""
    safety_stops: int = 0
    """That ended the attempt, as a person said who saw it."""


def examine(folder: Path, stops: Mapping[str, int] = MappingProxyType({})) -> list[Repair]:
    """What `repair` would do with every attempt of a robot's folder, by name; nothing is written. Raises as it does."""
    found = {bundle.name: _examine(bundle) for bundle in _attempts(folder)}
    for name, number in stops.items():
        one = found.get(name, Repair(attempt=name, status="hopeless", reason="it is not there"))
        if one.status == "torn":
            found[name] = replace(one, safety_stops=number)
        elif one.safety_stops != number:
            cause = f"attempt {name!r} is {one.status}, and only a torn one can be said to have ended in a safety stop"
            raise DataError(Code.DATA_RECORDING, cause, "name a torn attempt: see `volano data repair FOLDER --plan`")
    return list(found.values())


def repair(folder: Path, check: Check, stops: Mapping[str, int] = MappingProxyType({})) -> list[Repair]:
    """Repair every torn attempt of a robot's folder; what became of each, by name. `stops` are the safety stops that
    ended attempts. Raises DataError(E-DATA-060) when one of these is neither torn nor repaired with as many, before
    anything is written; StorageError when the disk is full or fails."""
    if stops:
        examine(folder, stops)
    return [_repair(bundle, check, stops.get(bundle.name, 0)) for bundle in _attempts(folder)]


def _attempts(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())


def _examine(bundle: Path) -> Repair:
    if (bundle / MANIFEST_FILE).exists():
        return _noted(bundle)
    try:
        file = open_journal(bundle / JOURNAL_FILE)
    except FileNotFoundError:
        return Repair(attempt=bundle.name, status="hopeless", reason="it has no journal")
    except OSError as error:  # a link, a folder, a pipe
        return Repair(attempt=bundle.name, status="hopeless", reason=f"its journal: {error.strerror}")
    if file is None:
        return Repair(attempt=bundle.name, status="under way")
    with file:
        found = _surveyed(bundle, file)
    return found if isinstance(found, Repair) else _expected(bundle, found)


def _noted(bundle: Path) -> Repair:
    """What became of a whole bundle: as its note says when a repair made it."""
    whole = Repair(attempt=bundle.name, status="whole")
    try:
        found = Repair(**strict_object((bundle / REPAIRED_FILE).read_bytes()))
    except FileNotFoundError:
        return whole
    except (ValueError, TypeError):
        found = whole
    kinds = [{name: type(value) for name, value in asdict(one).items()} for one in (found, whole)]
    if found.status != "repaired" or kinds[0] != kinds[1]:
        return replace(whole, reason="its note of a repair is damaged")
    return found


def _repair(bundle: Path, check: Check, stops: int) -> Repair:
    expected = _examine(bundle)
    if expected.status != "torn":
        return expected
    file = open_journal(bundle / JOURNAL_FILE)
    if file is None:
        return Repair(attempt=bundle.name, status="under way")
    with file:
        found = _surveyed(bundle, file)
        if isinstance(found, Repair):
            return found
        file.seek(0)
        return _complete(bundle, file, found, check, stops)


def _complete(bundle: Path, file: BinaryIO, found: Survey, check: Check, stops: int) -> Repair:
    """Write the bundle's files, look at them as ingest will, write the note, commit."""
    outcome = Outcome(success=False, autonomous=found.autonomous, source="repair", safety_stops=stops)
    try:
        manifest = write_files(file, bundle, found.whole, outcome, "", "")
    except OSError as error:
        raise cannot_write(bundle, error) from error
    except DataError as error:  # a name or an instruction that no episode may have
        return replace(_expected(bundle, found), status="hopeless", kept=0, reason=error.cause)
    [finding] = check([Bundle(folder=bundle, manifest=manifest, embodiment=found.start.embodiment)])
    if finding is not None and finding.code is Code.SYSTEM_SANDBOX:
        return replace(_expected(bundle, found), reason=f"not judged: {finding.evidence}")
    code = "" if finding is None else str(finding.code)
    done = replace(_expected(bundle, found), status="repaired", finding=code, safety_stops=stops)
    replace_file(bundle / REPAIRED_FILE, [canonical_json(asdict(done))])
    commit(bundle, manifest)
    return done


def _surveyed(bundle: Path, file: BinaryIO) -> Survey | Repair:
    try:
        found = survey(file)
    except DataError as error:
        return Repair(attempt=bundle.name, status="hopeless", reason=error.cause)
    if not found.whole:
        return replace(_expected(bundle, found), status="hopeless")
    return found


def _expected(bundle: Path, found: Survey) -> Repair:
    dropped = found.ticks - found.whole
    late = f"{dropped} ticks whose frames the encoder still held" if dropped else ""
    return Repair(
        attempt=bundle.name,
        status="torn",
        kept=found.whole,
        dropped=dropped,
        dropped_bytes=found.bytes_left,
        reason=", ".join(filter(None, [late, found.reason])),
    )
