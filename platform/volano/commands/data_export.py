"""`volano data export`: a dataset version for other code bases."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import STORE, Json, Store, print_json, require_store

if TYPE_CHECKING:
    from volano.data.exports.export import RobotPlan


def export(
    version: Annotated[str, typer.Option("--version", help="The dataset version's digits, or the first of them.")],
    output: Annotated[Path, typer.Option("--output", help="A new folder; what is there is never overwritten.")],
    target: Annotated[str, typer.Option("--for", help="Who reads it: openpi, starvla or gr00t.")],
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; write nothing.")] = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Export what may be imitated of a dataset version for openpi, starVLA or GR00T: LeRobot v2.1 and what they want
    beside it."""
    from volano.data.exports import export as exporting
    from volano.data.exports.export import RobotPlan
    from volano.data.exports.peers import peer
    from volano.data.version import meant
    from volano.storage.open import open_store

    require_store(store)
    opened, found = open_store(store), list[RobotPlan]()
    version = meant(opened, version)
    if plan:
        exporting.require_new(output)
        found.extend(exporting.plan(opened, version, target))
    else:
        found.extend(exporting.export(opened, version, target, output))
    if as_json:
        robots = [asdict(one) for one in found]
        print_json({"planned": plan, "version": version, "for": target, "output": str(output), "robots": robots})
        return
    for one in found:
        print("\n    ".join(_lines(one)))
    if plan:
        print(f"nothing was written; it would be in {output}\nnext: the same without --plan")
        return
    print(f"it is in {output}, one folder per robot")
    place = shlex.quote(str(output.absolute()))
    for one in found:
        if one.episodes:
            print(f"next: {peer(target).opens.format(output=place, tag=one.tag, horizon=one.horizon)}")


def _lines(one: "RobotPlan") -> Iterator[str]:
    from volano.data.exports.export import RobotExport

    yield f"{one.tag}: {one.episodes} episodes, {one.ticks} ticks, {one.videos} videos, of {one.attempts} attempts"
    left_out = f"{one.left_out} left out: no success, no expert"
    yield f"{one.whole} whole, {one.trimmed} cut to what an expert drove, {left_out}"
    if isinstance(one, RobotExport):
        yield f"{one.copied} videos copied packet by packet, {one.encoded} encoded, as they begin between keyframes"
    elif one.trimmed:
        yield "videos of whole attempts are copied packet by packet, the others where they begin with a keyframe"
    if one.short:
        yield f"note: {one.short} are shorter than {one.horizon} ticks: who reads whole chunks only skips them"
    if one.weighted:
        yield f"note: {one.weighted} have a weight other than 1, which only volano/episodes.jsonl can say"
