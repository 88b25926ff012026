"""`volano data lineage` and `diff`: what data came from, what came from them, and what changed between versions."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import (
    HOME,
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    ledger_if_any,
    places,
    print_json,
    print_table,
    require_store,
)

if TYPE_CHECKING:
    from volano.flywheel.lineage import Downstream

RUNS = HOME / "runs"
Runs = Annotated[Path, typer.Option("--runs", envvar="VOLANO_RUNS", help="Folder with the folders of training runs.")]


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            help="ROBOT/ATTEMPT, an upload's key, a content's 64 digits, or a version's, or the first of them."
        ),
    ],
    store: Store = STORE,
    ledger: Ledger = LEDGER,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Follow an upload, an episode or a version both ways: its robot and parents, its runs, policies and robots."""
    from volano.flywheel.lineage_records import gather
    from volano.flywheel.trace import trace
    from volano.storage.open import open_store

    require_store(store)
    opened = open_store(store)
    with ledger_if_any(ledger) as audit:
        records = gather(opened, audit, runs)
    found = trace(opened, records, name)
    if as_json:
        print_json(asdict(found))
        return
    print_table(found.rows())
    print_downstream(found.downstream, known=audit is not None, runs=runs)
    print(f"next: {found.next()}{places(store=store)}")


def diff(
    old: Annotated[str, typer.Argument(help="A version's digits, or the first of them.")],
    new: Annotated[str, typer.Argument(help="Another's.")],
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Say which episodes a version has over another, by robot and by the reason given; all of them with --json."""
    from volano.data.catalogue_query import uploads_of
    from volano.data.difference import changes, numbers, path
    from volano.data.quarantine import robot_of
    from volano.data.version import diff as compare
    from volano.data.version import listed, load, meant
    from volano.storage.open import open_store

    require_store(store)
    opened = open_store(store)
    old, new = meant(opened, old), meant(opened, new)
    before, after = load(opened, old), load(opened, new)
    found = list(changes(path(listed(opened), before, after)))
    uploads = uploads_of(opened, {one.content_id for one in found})
    contracts = compare(before, after).embodiments
    robots = {content: robot_of(upload) or "unknown" for content, upload in uploads.items()}
    if as_json:
        listing = [{**asdict(one), "robot": robots[one.content_id], "upload": uploads[one.content_id]} for one in found]
        print_json({"old": old, "new": new, "changes": listing, "embodiments": contracts})
        return
    print(f"{old[:12]}: {len(before.episodes)} episodes, {new[:12]}: {len(after.episodes)}")
    for (kind, robot, reason), number in numbers(found, robots).items():
        print(f"{kind:10}  {number:6}  {robot}  {reason}")
    for tag in contracts:
        print(f"contract    {tag}")
    print("no episode differs" if not found else f"{len(found)} episodes differ")
    print(f"next: volano data lineage {new}{places(store=store)}")


def print_downstream(found: "Downstream", *, known: bool, runs: Path) -> None:
    """Runs, policies and robots, one a line; `known` is whether a ledger was asked."""
    for run in found.runs:
        read = [version[:12] for version in run.versions if version in found.versions]
        why = f"trained on {', '.join(read)}" if read else f"goes on from {run.parent}"
        print(f"run       {run.folder}  {run.recipe}, {why}")
    for policy in found.policies:
        held = [version[:12] for version in policy.lineage.dataset_versions if version in found.versions]
        why = f"trained on {', '.join(held)}" if held else f"goes on from {policy.lineage.parent[:12]}"
        print(f"policy    {policy.digest}  {policy.status or 'not in the ledger'}, {why}")
    for one in found.robots:
        print(f"robot     {one.robot}  {one.how}: {one.policy[:12]}")
    print(f"{len(found.runs)} runs, {len(found.policies)} policies, {len({one.robot for one in found.robots})} robots")
    if not runs.is_dir():
        print(f"no folder of runs at {runs}: name it with --runs")
    if not known:
        print("no ledger: what runs where is not known; name it with --ledger")
