"""Checkpoints that are visible only when complete: every rank writes its part, then one record is written last.

The record names every file with its size and SHA-256; `newest` believes only a record whose files verify, so a
checkpoint torn by a crash, or one that a controller forgot, never decides where a run goes on. A record that was found
to be wrong is set aside, so that whoever looks at names alone believes no more than that. Ranks know of each other's
parts by files alone.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volano.errors import Code, TrainError
from volano.storage.content import sha256_file
from volano.storage.files import replace_file, sync_file, sync_folder

logger = logging.getLogger(__name__)
RECORD = "complete.json"
DAMAGED = "damaged.json"
"""What a record is called once its files were found to be others."""
IN_USE = ".in-use"
"""In a checkpoint's folder: somebody reads it, so it stays although newer ones are complete."""
SCHEMA = 1
"""Of records; it changes when older checkpoints can no longer be read as they stand."""
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
    layout: str
    """What its files look like inside: that of the engine that wrote them."""


def folder_of(root: Path, stage: int, step: int) -> Path:
    """Where the checkpoint of (stage, step) stands."""
    return root / f"stage-{stage:02d}-step-{step:07d}"


def begin(root: Path, stage: int, step: int) -> Path:
    """An empty folder for the checkpoint of (stage, step): files that more workers left there when they died would be
    taken for part of it."""
    folder = folder_of(root, stage, step)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_part(folder: Path, rank: int, names: Sequence[str]) -> None:
    """Make these files below a checkpoint's folder durable, then the record that this rank's part is there."""
    replace_file(_part(folder, rank), [json.dumps(_durable(folder, names)).encode()])


def missing_parts(folder: Path, world: int) -> list[int]:
    """Ranks whose part of a checkpoint is not there yet."""
    return [rank for rank in range(world) if not _part(folder, rank).is_file()]


def commit(root: Path, *, stage: int, step: int, world: int, layout: str) -> Checkpoint:
    """Of parts that are all there, a checkpoint: write its record, then drop all but the newest two. A power cut at any
    moment leaves one that is whole."""
    folder = folder_of(root, stage, step)
    files: dict[str, object] = {}
    for rank in range(world):
        files |= json.loads(_part(folder, rank).read_bytes())
    facts = {"stage": stage, "step": step, "world": world, "layout": layout}
    _write_record(folder, facts, files)
    _forget_old(root)
    return Checkpoint(folder=folder, stage=stage, step=step, world=world, layout=layout)


def write_record(folder: Path, facts: Mapping[str, object]) -> None:
    """Make every file of a folder durable, then the record that names them all and holds `facts`."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != RECORD]
    _write_record(folder, facts, _durable(folder, [str(path.relative_to(folder)) for path in paths]))


def _write_record(folder: Path, facts: Mapping[str, object], files: Mapping[str, object]) -> None:
    sync_folder(folder.parent)
    replace_file(folder / RECORD, [json.dumps({"schema": SCHEMA, **facts, "files": files}).encode()])


def _durable(folder: Path, names: Sequence[str]) -> dict[str, object]:
    """Sizes and hashes of files that are on the disk, with all folders on the way to them."""
    places = {folder}
    for name in names:
        sync_file(folder / name)
        places |= {folder / parent for parent in Path(name).parents}
    for place in sorted(places):
        sync_folder(place)
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)} for name in sorted(names)
    }


def _part(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank:05d}.json"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The facts of a folder whose files are all as they were when its record was written, or None. Raises
    TrainError(E-TRAIN-001) for a record of another schema."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    if record.get("schema") != SCHEMA:
        raise TrainError(
            Code.TRAIN_CHECKPOINT,
            f"{folder} is of schema {record.get('schema')}, this Volano reads {SCHEMA}",
            "go on with the version that wrote it, or take another output folder",
        )
    for name, entry in record["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"] or sha256_file(path) != entry["sha256"]:
            logger.warning("checkpoint %s is damaged at %s", folder.name, name)
            return None
    return record


def sound_record(folder: Path) -> dict[str, Any] | None:
    """The record of a complete checkpoint, its files verified; one that is damaged is none from now on. Raises like
    `read_record`."""
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder)
    if record is None:
        with suppress(FileNotFoundError):  # another worker has set it aside
            (folder / RECORD).rename(folder / DAMAGED)
    return record


def newest(root: Path) -> Checkpoint | None:
    """The newest complete checkpoint whose files verify, or None; newer ones that do not are set aside. Raises like
    `read_record`."""
    for folder in sorted(root.glob("stage-*-step-*"), reverse=True):
        record = sound_record(folder)
        if record is not None:
            facts = {key: record[key] for key in ("stage", "step", "world")}
            return Checkpoint(folder=folder, layout=record.get("layout", ""), **facts)
    return None


def newest_name(root: Path) -> str:
    """Name of the newest checkpoint that has its record, by names alone: one that is damaged counts until `newest` or
    an upload finds out. Empty without any."""
    return max((path.parent.name for path in root.glob(f"stage-*-step-*/{RECORD}")), default="")


def _forget_old(root: Path) -> None:
    complete = [folder for folder in sorted(root.glob("stage-*-step-*")) if (folder / RECORD).exists()]
    for folder in complete[:-_KEEP]:
        if not (folder / IN_USE).exists():
            (folder / RECORD).unlink()
            shutil.rmtree(folder)
