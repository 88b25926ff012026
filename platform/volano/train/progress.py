"""How far a run is, from its folder alone: what was asked, the newest point of its journal, its checkpoints.

Nobody is asked who may be busy or gone; so a run that says nothing for long is called silent, not dead.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from volano.errors import Code, TrainError
from volano.train.checkpoint import RECORD
from volano.train.drift import CHANGES
from volano.train.journal import behind, read_journal
from volano.train.layout import CHECKPOINTS, JOURNAL, POLICY, RUN

_SILENT_S = 300.0
"""A run whose journal has not grown for so long is silent."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One look at a run."""

    recipe: str
    state: Literal["done", "under way", "silent", "not begun"]
    step: int
    """Steps done, of all stages together, as far as the journal says; fewer again where the run went back."""
    steps: int
    at: float | None
    """Unix time of the newest point, seconds."""
    metrics: dict[str, float]
    """Of the newest point."""
    checkpoint: str
    """Name of the newest that was completed; whether its files are still whole is not looked at. Empty without one."""
    changes: tuple[tuple[str, str], ...]
    """When the run was told to go on with another configuration, and what changed."""
    next: str
    """The command to type."""


def look(folder: Path, now: float) -> Progress:
    """Look at a run's folder. `now`: Unix time in seconds. Raises TrainError(E-TRAIN-001) for a folder of no run."""
    try:
        asked: dict[str, Any] = json.loads((folder / RUN).read_text())
    except OSError:
        fix = "name the folder given to --output"
        raise TrainError(Code.TRAIN_CHECKPOINT, f"there is no run at {folder}", fix) from None
    points = behind(read_journal(folder / JOURNAL)) if (folder / JOURNAL).exists() else []
    step, at, metrics = points[-1] if points else (-1, None, {})
    complete = sorted(path.parent.name for path in (folder / CHECKPOINTS).glob(f"*/{RECORD}"))
    state: Literal["done", "under way", "silent", "not begun"] = "not begun"
    if (folder / POLICY).is_dir():
        state = "done"
    elif at is not None:
        state = "under way" if now - at < _SILENT_S else "silent"
    request = asked["request"]
    return Progress(
        recipe=request["recipe"],
        state=state,
        step=step + 1,
        steps=sum(stage["steps"] for stage in asked["config"]["stages"]),
        at=at,
        metrics=metrics,
        checkpoint=complete[-1] if complete else "",
        changes=_changes(folder),
        next=_evaluate(folder, request) if state == "done" else _go_on(folder, request),
    )


def _changes(folder: Path) -> tuple[tuple[str, str], ...]:
    if not (folder / CHANGES).exists():
        return ()
    return tuple(
        (
            datetime.fromisoformat(entry["at"]).astimezone(UTC).isoformat(timespec="seconds"),
            ", ".join(f"{change['key']}: {change.get('old')} -> {change.get('new')}" for change in entry["changes"]),
        )
        for entry in json.loads((folder / CHANGES).read_text())
    )


def _evaluate(folder: Path, request: dict[str, Any]) -> str:
    data = f"--store {request['store']} --version {request['version']}"
    return f"volano eval run {folder / POLICY} --episodes 52 --pool gate --output {folder / 'evaluation.json'} {data}"


def _go_on(folder: Path, request: dict[str, Any]) -> str:
    """The command that started the run, which also goes on with it."""
    words = ["volano train run", request["recipe"], *request["overrides"]]
    words += [f"--{name} {request[name]}" for name in ("store", "version", "parent") if request[name]]
    return " ".join([*words, f"--output {folder}", f"--workers {request['workers']}"])
