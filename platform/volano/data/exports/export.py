"""From a committed dataset version to a new folder that another code base loads; it appears whole or not at all.

Everything is made in a hidden folder beside the target, synced, and renamed. The same version gives the same bytes.
Nothing that is there is overwritten, and nothing that was recalled leaves.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from volano.data.exports.peers import Peer, peer
from volano.data.exports.select import OWN_EPISODES, Attempt, Run, attempts, runs
from volano.data.exports.write import write, write_json
from volano.data.recall import refuse_recalled
from volano.data.version import DatasetVersion, load, materialize
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError, StorageError
from volano.storage.files import cannot_write, sync_file, sync_folder
from volano.storage.store import ObjectStore

SCHEMA = "volano.export.1"


@dataclass(frozen=True, kw_only=True)
class RobotPlan:
    """What becomes of one robot's episodes."""

    tag: str
    horizon: int
    """Of the robot's contract."""
    attempts: int
    """Episodes that the version holds of it."""
    whole: int
    """Those that are exported from the first tick to the last."""
    trimmed: int
    """Those of which only what an expert drove is exported."""
    left_out: int
    """Those of which nothing may be imitated."""
    episodes: int
    """Episodes of the export: each run of ticks is one."""
    ticks: int
    short: int
    """Episodes that are shorter than the horizon: a reader that wants whole chunks gets none from them."""
    weighted: int
    """Exported attempts whose weight is not 1: these formats cannot say it."""
    videos: int
    """Video files; those of whole attempts are copied packet by packet."""


@dataclass(frozen=True, kw_only=True)
class RobotExport(RobotPlan):
    """What became of one robot's episodes."""

    copied: int
    """Videos whose packets are the version's."""
    encoded: int
    """Videos that were encoded, since they begin between two keyframes."""


def plan(store: ObjectStore, version_id: str, target: str) -> list[RobotPlan]:
    """What `export` would do, per robot; nothing is written but a temporary folder. Raises like `export`."""
    peer(target)
    version = _exportable(store, version_id)
    with tempfile.TemporaryDirectory(prefix="volano-export-") as scratch:
        materialize(store, version_id, Path(scratch), lambda name: name.endswith(f"/{OWN_EPISODES}"))
        found = _select(version, Path(scratch))
    return [_planned(embodiment, known, chosen) for embodiment, known, chosen in found]


def export(store: ObjectStore, version_id: str, target: str, output: Path) -> list[RobotExport]:
    """Write a version into the new folder `output`, one folder per robot, for the code base `target`. Raises
    ConfigError for a target that is not known; DataError: E-DATA-083 when `output` is there or nothing may be imitated,
    E-DATA-071 when the version holds recalled episodes; StorageError when the store fails or the folder cannot be
    written."""
    made_for = peer(target)
    require_new(output)
    version = _exportable(store, version_id)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.exporting-", dir=output.parent))
    except OSError as error:
        raise cannot_write(output, error) from error
    try:
        materialize(store, version_id, scratch / "version")
        done = _write(scratch, version, made_for, target)
        _exportable(store, version_id)  # this took minutes, in which a person may recall what the version holds
        _publish(scratch / "export", output)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise cannot_write(output, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return done


def require_new(output: Path) -> None:
    """Raise DataError(E-DATA-083) when anything is there."""
    if os.path.lexists(output):
        raise _exists(output)


def _exists(output: Path) -> DataError:
    return DataError(Code.DATA_EXPORT, f"{output} is there, and nothing is overwritten", "name a folder that is not")


def _exportable(store: ObjectStore, version_id: str) -> DatasetVersion:
    version = load(store, version_id)
    refuse_recalled(store, version)
    return version


def _select(version: DatasetVersion, folder: Path) -> list[tuple[Embodiment, list[Attempt], list[Run]]]:
    """Per robot its contract, what the version holds and what leaves; raises DataError(E-DATA-083) when nothing may."""
    found = []
    for tag, embodiment in version.embodiments.items():
        known = attempts(folder / tag)
        found.append((embodiment, known, runs(known)))
    if not any(chosen for _, _, chosen in found):
        cause = "nothing in the version may be imitated: no attempt succeeded alone, and no expert drove"
        raise DataError(Code.DATA_EXPORT, cause, "export a version with demonstrations or successes")
    return found


def _planned(embodiment: Embodiment, known: Sequence[Attempt], chosen: Sequence[Run]) -> RobotPlan:
    exported = {run.attempt.number: run.attempt for run in chosen}
    whole = sum(run.whole for run in chosen)
    return RobotPlan(
        tag=embodiment.tag,
        horizon=embodiment.horizon,
        attempts=len(known),
        whole=whole,
        trimmed=len(exported) - whole,
        left_out=len(known) - len(exported),
        episodes=len(chosen),
        ticks=sum(map(len, chosen)),
        short=sum(len(run) < embodiment.horizon for run in chosen),
        weighted=sum(attempt.weight != 1 for attempt in exported.values()),
        videos=len(chosen) * len(embodiment.cameras),
    )


def _write(scratch: Path, version: DatasetVersion, made_for: Peer, target: str) -> list[RobotExport]:
    done = []
    for embodiment, known, chosen in _select(version, scratch / "version"):
        planned, encoded = _planned(embodiment, known, chosen), 0
        if chosen:
            folder, tag = scratch / "export" / embodiment.tag, embodiment.tag
            encoded = write(folder, scratch / "version" / tag, embodiment, chosen, made_for)["encode"]
            source = {"schema": SCHEMA, "version": version.id, "for": target}
            write_json(folder / "volano" / "source.json", source)
            write_json(folder / "volano" / "contract.json", embodiment.to_json())
        done.append(RobotExport(**asdict(planned), copied=planned.videos - encoded, encoded=encoded))
    return done


def _publish(made: Path, output: Path) -> None:
    """Give a finished folder its name, through to the disk."""
    for path in [*made.rglob("*"), made]:
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    require_new(output)
    try:
        os.rename(made, output)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise _exists(output) from error
        raise
    sync_folder(output.parent)
