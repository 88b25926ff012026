"""Checkpoints that are visible only when complete: every rank writes, then one record is written last.

The record names every file with its size and SHA-256; `newest` believes only a record whose files verify, so a
checkpoint torn by a crash, or one that a controller forgot, never decides where a run goes on.
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from volano.storage.content import sha256_file

logger = logging.getLogger(__name__)
RECORD = "complete.json"
_KEEP = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    stage: int
    """Position of the stage in the run."""
    step: int
    """Steps of that stage already done."""
    world: int
    """Number of workers that wrote it."""


def folder_of(root: Path, stage: int, step: int) -> Path:
    """Where the checkpoint of (stage, step) stands."""
    return root / f"stage-{stage:02d}-step-{step:07d}"


def commit(root: Path, *, stage: int, step: int, world: int) -> Checkpoint:
    """Write the record, durably, once every rank's files are there; then drop all but the newest two."""
    folder = folder_of(root, stage, step)
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    record = {"stage": stage, "step": step, "world": world, "files": files}
    temporary = folder / f"{RECORD}.part"
    with temporary.open("w") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(folder / RECORD)
    _forget_old(root)
    return Checkpoint(folder=folder, stage=stage, step=step, world=world)


def newest(root: Path) -> Checkpoint | None:
    """The newest complete checkpoint whose files verify, or None."""
    for folder in sorted(root.glob("stage-*-step-*"), reverse=True):
        found = _read(folder)
        if found is not None:
            return found
    return None


def _read(folder: Path) -> Checkpoint | None:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    for name, entry in record["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"] or sha256_file(path) != entry["sha256"]:
            logger.warning("checkpoint %s is damaged at %s; taking an older one", folder.name, name)
            return None
    return Checkpoint(folder=folder, stage=record["stage"], step=record["step"], world=record["world"])


def _forget_old(root: Path) -> None:
    complete = [folder for folder in sorted(root.glob("stage-*-step-*")) if (folder / RECORD).exists()]
    for folder in complete[:-_KEEP]:
        (folder / RECORD).unlink()
        shutil.rmtree(folder)
