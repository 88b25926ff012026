"""`volano data repair`: on a robot, keep what was recorded of attempts that were cut off."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import Json, print_json
from volano.errors import Code, DataError

if TYPE_CHECKING:
    from volano.data.repair import Repair

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The robot's folder of attempts.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be kept and dropped; write nothing.")]

Stopped = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ATTEMPT", help="A safety stop ended this attempt: it counts against its policy. Once for each stop."
    ),
]


def repair(folder: Folder, plan: Plan = False, stopped: Stopped = None, as_json: Json = False) -> None:
    """Make whole bundles of attempts whose recording was cut off, and say of each what was kept and dropped."""
    from dataclasses import asdict

    from volano.data import repair as repairing
    from volano.data.sandbox import Limits, check_bundles

    if not folder.is_dir():
        raise DataError(Code.DATA_RECORDING, f"there is no folder {folder}", "name the robot's folder of attempts")
    found = (
        repairing.examine(folder, Counter(stopped))
        if plan
        else repairing.repair(folder, lambda bundles: check_bundles(bundles, Limits()), Counter(stopped))
    )
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        if one.status != "whole" or one.reason:
            print(_line(one))
    counts = Counter(one.status for one in found)
    print(", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or f"no attempt in {folder}")
    if counts["torn"]:
        said = "".join(f" --stopped {name}" for name in stopped or ())
        print(f"next: volano data repair {folder}{said}")
    elif counts["repaired"]:
        print("next: upload them as any other; each manifest says that nobody saw the end")


def _line(one: "Repair") -> str:
    """What there is to say of one attempt."""
    name = one.attempt if one.attempt.isprintable() else repr(one.attempt)
    said = f"{name}: {one.status}"
    if one.status in {"torn", "repaired", "hopeless"}:
        said += f", {one.kept} ticks kept, {one.dropped} ticks and {one.dropped_bytes} bytes dropped"
    if one.safety_stops:
        said += f", ended by safety stops: {one.safety_stops}"
    if one.reason:
        said += f" ({one.reason})"
    return f"{said}; ingest will quarantine it with {one.finding}" if one.finding else said
