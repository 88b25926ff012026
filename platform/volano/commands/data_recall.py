"""`volano data recall`: take bad episodes back, and learn what they have reached."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.data_lineage import RUNS, Runs, print_downstream
from volano.commands.data_quarantine import By, Plan, Reason
from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    ledger_if_any,
    moment,
    places,
    print_json,
    require_store,
)

if TYPE_CHECKING:
    from volano.flywheel.lineage import Downstream
    from volano.flywheel.recall import Decision


def recall(
    reason: Reason,
    robot: Annotated[str, typer.Option("--robot", help="Episodes of this robot.")] = "",
    since: Annotated[str, typer.Option("--since", help="Begun at this time or later, as 2026-11-26T07:00; UTC.")] = "",
    until: Annotated[str, typer.Option("--until", help="Begun before this time.")] = "",
    upload: Annotated[list[str] | None, typer.Option("--upload", help="This one; may be given again.")] = None,
    version: Annotated[str, typer.Option("--version", help="Version that gets the child; the newest if none.")] = "",
    by: By = "operator",
    plan: Plan = False,
    store: Store = STORE,
    ledger: Ledger = LEDGER,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Take episodes back for good: a new version without them, and a list of every version, run, policy and robot that
    they reached."""
    from volano.data.recall import Selection
    from volano.data.verdict import upload_key
    from volano.data.version import meant
    from volano.flywheel.lineage import of_contents
    from volano.flywheel.lineage_records import gather
    from volano.flywheel.recall import carry_out, propose
    from volano.storage.open import open_store

    require_store(store)
    selection = Selection(
        robot=robot,
        since=moment("--since", since, float("-inf")),
        until=moment("--until", until, float("inf")),
        uploads=frozenset(map(upload_key, upload or ())),
    )
    opened = open_store(store)
    version = meant(opened, version) if version else ""
    with ledger_if_any(ledger) as audit:
        reached = gather(opened, audit, runs)
        decision, uploads = propose(opened, selection, version=version, reason=reason, by=by, now=time.time())
        child = "" if plan else carry_out(opened, audit, decision)
    found = of_contents(reached, decision.recall.contents)
    if as_json:
        print_json({**_as_json(decision, uploads, child, found), "planned": plan})
        return
    _tell(decision, uploads, child, plan=plan)
    for one in found.versions:
        print(f"version   {one}")
    print_downstream(found, known=audit is not None, runs=runs)
    print(f"next: {_next(decision, found, child, plan=plan, store=store, ledger=ledger)}")


def _as_json(decision: "Decision", uploads: tuple[str, ...], child: str, found: "Downstream") -> dict[str, object]:
    return {
        "recall": {"id": decision.recall.id, **asdict(decision.recall)},
        "changes": decision.changes,
        "uploads": uploads,
        "parent": decision.base.id if decision.base else "",
        "version": child,
        "left": len(decision.kept),
        "holding": decision.holding,
        "reached": asdict(found),
    }


def _tell(decision: "Decision", uploads: tuple[str, ...], child: str, *, plan: bool) -> None:
    recall, base = decision.recall, decision.base
    verb = "would recall" if plan else "recalled"
    already = "" if decision.changes else ", all of them before: nothing changes"
    print(f"{verb} {len(recall.contents)} episodes in {len(uploads)} uploads{already}: {recall.id}")
    if base is None:
        print("no newest version holds them, so none is made")
    elif not decision.kept:
        print(f"nothing is left of version {base.id}, so none is made")
    else:
        gone = len(base.episodes) - len(decision.kept)
        print(f"version {child or 'to be made'}: {len(decision.kept)} episodes, {gone} fewer than its parent {base.id}")
    for one in decision.holding:
        print(f"still newest and holding some: {one}; repeat with --version {one}")


def _next(decision: "Decision", found: "Downstream", child: str, *, plan: bool, store: str, ledger: str) -> str:
    if plan:
        return "the same without --plan"
    if found.robots:
        return f"put another policy in place on these robots: volano rollout ls{places(ledger=ledger)}"
    if child and decision.base is not None:
        return f"volano data diff {decision.base.id} {child}{places(store=store)}"
    return f"volano data versions{places(store=store)}"
