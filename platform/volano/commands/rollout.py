"""`volano rollout`: begin a rollout, look at it, and prove its verdicts."""

import json
import os
import sys
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from volano.commands.application import PASSED_ON, run_application
from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    home_of,
    places,
    print_json,
    print_table,
    require_ledger,
    require_store,
)
from volano.errors import Code, RolloutError

if TYPE_CHECKING:
    from volano.flywheel.reconcile import Look
    from volano.inference.running import GatewayFolder
    from volano.ledger.ledger import Ledger as OpenLedger
    from volano.rollout.plan import Rollout

app = typer.Typer(no_args_is_help=True, help="Replace a policy with evidence.")
_BAR = 40
_NAMED = 8
"""Robots that a step of a plan names."""
Actor = Annotated[str, typer.Option("--by", help="Who decides: it stands in the audit log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why: it stands in the audit log.")]
Id = Annotated[str, typer.Argument(help="The rollout's id.")]
Shadow = Annotated[
    list[Path] | None,
    typer.Option(
        "--shadow", exists=True, dir_okay=False, help="Shadow journal of a gateway; beside the ledger if none."
    ),
]
Access = Annotated[
    list[Path] | None,
    typer.Option(
        "--access", exists=True, dir_okay=False, help="Access log of a gateway, its newest file; as --shadow."
    ),
]


@app.callback()
def rollout() -> None:
    """Replace a policy with evidence."""


@app.command()
def new(
    rollout_id: Id,
    candidate: Annotated[str, typer.Argument(help="Digest of a released policy, or the start of one.")],
    robot: Annotated[
        list[str] | None, typer.Option("--robot", help="Embodiment; all of the candidate's if none.")
    ] = None,
    ledger: Ledger = LEDGER,
) -> None:
    """Write the documents of a rollout, with every default, to be changed and given to `start`."""
    from volano.flywheel.draft import draft
    from volano.ledger.ledger import open_ledger
    from volano.rollout.documents import documents_of
    from volano.rollout.yaml_text import write_documents

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        plan = draft(opened, rollout_id, candidate, robot or ())
    print(write_documents(documents_of(plan)), end="")
    print(f"next: put this into a file, then: volano rollout start FILE --plan{places(ledger=ledger)}", file=sys.stderr)


@app.command("ls")
def list_rollouts(ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """List the rollouts and where they stand."""
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = [
            {"id": one.id, "active": one.active, "state": json.loads(one.state)["kind"]} for one in opened.rollouts()
        ]
    if as_json:
        print_json(found)
        return
    print_table({str(one["id"]): f"{one['state']}{'' if one['active'] else ', ended'}" for one in found})
    print(f"next: volano rollout status {found[-1]['id']}{places(ledger=ledger)}" if found else "no rollout yet")


@app.command()
def promote(rollout_id: Id, reason: Reason, ledger: Ledger = LEDGER, actor: Actor = "operator") -> None:
    """Decide for the candidate, where a rollout waits for a person."""
    _decide(rollout_id, "promote", reason, ledger, actor)


@app.command()
def rollback(rollout_id: Id, reason: Reason, ledger: Ledger = LEDGER, actor: Actor = "operator") -> None:
    """End a rollout: every robot runs the policy in place again, also where its document cannot be read any more."""
    _decide(rollout_id, "rollback", reason, ledger, actor)


@app.command()
def resume(rollout_id: Id, reason: Reason, ledger: Ledger = LEDGER, actor: Actor = "operator") -> None:
    """End a hold that waits for a person: the next step begins."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = reconcile.resume(opened, rollout_id, operator=actor, reason=reason, now=time.time())
    print(f"resumed by {actor}: {rollout_id} is in {found.state.kind} now")
    print(f"next: volano rollout look {rollout_id}{places(ledger=ledger)}")


def _decide(rollout_id: str, decision: Literal["promote", "rollback"], reason: str, ledger: str, actor: str) -> None:
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        now = time.time()
        if decision == "rollback" and reconcile.abandon(opened, rollout_id, operator=actor, reason=reason, now=now):
            print(f"ended by {actor}: {rollout_id}, whose document cannot be read; what is in place stays")
            print(f"next: volano rollout ls{places(ledger=ledger)}")
            return
        reconcile.decide(opened, rollout_id, decision, operator=actor, reason=reason, now=now)
        _show_champion(opened, ledger)
    print(f"{'promoted' if decision == 'promote' else 'rolled back'} by {actor}: {rollout_id}")
    print(f"next: volano rollout status {rollout_id}{places(ledger=ledger)}")


@app.command()
def start(
    document: Path,
    ledger: Ledger = LEDGER,
    actor: Actor = "operator",
    plan: Annotated[bool, typer.Option("--plan", help="Say which robots are touched when; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Begin the rollout that a file of documents describes; beginning it again changes nothing."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = _read(document, opened)
        if plan:
            reconcile.require_ready(opened, found)
            _show_touches(found, opened, as_json)
            return
        reconcile.start(opened, found, time.time(), actor)
        doubts = _doubts(found, _enrolled(found, opened))
    print(f"started: {found.id}, {found.current[:12]} against {found.candidate[:12]}")
    print(
        "next: let the robots work and ingest what they bring, then: "
        f"volano rollout look {found.id}{places(ledger=ledger)}"
    )
    print("".join(f"CAREFUL: {doubt}\n" for doubt in doubts), end="")


@app.command(context_settings=PASSED_ON, add_help_option=False)
def rehearse(context: typer.Context) -> None:
    """Roll one policy folder out over another on simulated robots here; takes the arguments of `python -m
    jobs.rehearse`, also --help."""
    raise run_application("jobs.rehearse", context.args)


@app.command()
def plan(document: Path, ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """Say which enrolled robots a file of documents would touch, step by step; changes nothing."""
    start(document, ledger, "", plan=True, as_json=as_json)


def _read(path: Path, ledger: "OpenLedger") -> "Rollout":
    """Documents in YAML or JSON, or the one document that Volano keeps."""
    from volano.registry.manifest import Manifest
    from volano.rollout.documents import rollout_of
    from volano.rollout.plan import SCHEMA, Rollout
    from volano.rollout.yaml_text import read_documents

    def served(digest: str) -> dict[str, str]:
        policy = ledger.policy(digest)
        if policy is None:
            raise RolloutError(Code.ROLLOUT_PLAN, f"policy {digest[:12]!r} is not known", "see `volano policy ls`")
        return dict(Manifest.from_bytes(policy.manifest.encode()).embodiments)

    try:
        data = path.read_bytes()
    except OSError as error:
        raise RolloutError(Code.ROLLOUT_PLAN, f"{path} is not readable: {error}", "name the file") from error
    found = read_documents(data)
    if len(found) == 1 and isinstance(found[0], dict) and found[0].get("schema") == SCHEMA:
        return Rollout.from_json(found[0])
    return rollout_of(found, served)


def _show_touches(document: "Rollout", ledger: "OpenLedger", as_json: bool) -> None:
    from dataclasses import asdict

    from volano.rollout.preview import touches

    robots = _enrolled(document, ledger)
    found = touches(document, robots)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print(f"{document.id}: {document.candidate[:12]} for {document.current[:12]}, {len(robots)} robots enrolled")
    for number, one in enumerate(found, start=1):
        print(f"{number} {one.step}: {one.means}")
        more = f" and {len(one.added) - _NAMED} more" if len(one.added) > _NAMED else ""
        print(f"   {len(one.exposed)} robots, new: {', '.join(one.added[:_NAMED]) or 'none'}{more}")
        if one.left:
            print(f"   left alone: {', '.join(f'{number} {why}' for why, number in sorted(one.left.items()))}")
    print("".join(f"CAREFUL: {doubt}\n" for doubt in _doubts(document, robots)), end="")
    print("next: the same with `volano rollout start`")


@app.command()
def look(
    rollout_id: Id,
    ledger: Ledger = LEDGER,
    store: Store = STORE,
    shadow: Shadow = None,
    access: Access = None,
    missing: Annotated[
        float, typer.Option("--missing-after", help="Seconds until an episode counts as lost.")
    ] = 3600.0,
    as_json: Json = False,
) -> None:
    """Gather what the fleet brought back, judge it, and take the step that it allows."""
    from volano.data.lines import read_lines, read_turns
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger
    from volano.storage.open import open_store

    require_ledger(ledger)
    require_store(store)
    journals = beside(ledger)
    with open_ledger(ledger) as opened:
        found = reconcile.look(
            opened,
            open_store(store),
            rollout_id,
            chain.from_iterable(map(read_lines, shadow or [journals.shadow])),
            access_lines=chain.from_iterable(map(read_turns, access or [journals.access])),
            missing_after_s=missing,
        )
        if found.ended:
            _show_champion(opened, ledger)
        robots = _enrolled(found.document, opened)
    _show(found, rollout_id, as_json, store=store, ledger=ledger)
    if not as_json and isinstance(at := getattr(found.state, "step", None), int):
        print("".join(f"CAREFUL: {doubt}\n" for doubt in _doubts(found.document, robots, at)), end="")


@app.command()
def status(rollout_id: Id, ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """Show where a rollout stands and what its evidence says; changes nothing."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        _show(reconcile.status(opened, rollout_id), rollout_id, as_json, store=STORE, ledger=ledger)


@app.command()
def page(
    rollout_id: Id,
    output: Annotated[Path, typer.Option("--output", help="Where the page is written.")] = Path("rollout.html"),
    ledger: Ledger = LEDGER,
) -> None:
    """Write a page of where a rollout stands: verdicts, evidence, guardrails, robots; no script, no address outside."""
    from volano.flywheel import reconcile
    from volano.flywheel.page.rollout import rollout_page
    from volano.ledger.ledger import open_ledger
    from volano.rollout.code import code_digest
    from volano.rollout.preview import touches
    from volano.storage.files import replace_file

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = reconcile.status(opened, rollout_id)
        robots = _enrolled(found.document, opened)
    told = (found.document, found.state, found.evidence, found.verdicts, touches(found.document, robots), code_digest())
    replace_file(output, [rollout_page(*told)])
    print(f"{rollout_id}: {found.state.kind} after {len(found.verdicts)} verdicts, {len(robots)} robots")
    print(f"next: open {output}")


@app.command()
def replay(rollout_id: Id, ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """Make every verdict again from what the audit log says it was made from; exit code 5 when one differs."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        pairs = reconcile.replay(opened, rollout_id)
    different = [number for number, (written, made) in enumerate(pairs, 1) if written != made]
    if as_json:
        print_json({"verdicts": len(pairs), "different": different})
    elif different:
        print(f"verdict {different[0]} of {len(pairs)} is not what its inputs make: {rollout_id}")
    else:
        print(f"all {len(pairs)} verdicts are what their inputs make: {rollout_id}")
        print(f"next: volano audit verify{places(ledger=ledger)}")
    if different:
        raise typer.Exit(5)


def _doubts(document: "Rollout", robots: list[tuple[str, str, str]], only: int | None = None) -> list[str]:
    """Of the steps that need episodes of the candidate, or of one of them: that no enrolled robot would bring any."""
    from volano.rollout.preview import touches

    waits = {"shadow", "canary", "ab_test"}
    return [
        f"step {number + 1}, {one.step}, exposes none of the robots that are enrolled, and waits for their episodes: "
        "take more percent, or another selector"
        for number, one in enumerate(touches(document, robots))
        if one.step in waits and not one.exposed and only in (None, number)
    ]


def _enrolled(document: "Rollout", ledger: "OpenLedger") -> list[tuple[str, str, str]]:
    """Name, site and contract of the robots whose keys are good, of the document's embodiments."""
    return [
        (robot.id, robot.site, robot.fingerprint)
        for robot in ledger.robots()
        if robot.fingerprint in document.embodiments and not robot.revoked
    ]


def beside(ledger: str) -> "GatewayFolder":
    """Where a gateway on this machine journals what was asked and what shadows answered: beside its ledger's file, or
    in the usual home."""
    from volano.inference.running import GatewayFolder

    return GatewayFolder(home_of(ledger))


def _show_champion(opened: "OpenLedger", ledger: str) -> None:
    """In the MLflow that MLFLOW_TRACKING_URI names, or in the one beside the ledger; if there is none, nothing."""
    from volano.flywheel.champion import show_champion
    from volano.registry.tracking import DATABASE, local_uri

    folder = home_of(ledger)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (local_uri(folder) if (folder / DATABASE).is_file() else "")
    if uri:
        show_champion(opened, uri)


def _show(found: "Look", rollout_id: str, as_json: bool, *, store: str, ledger: str) -> None:
    from volano.rollout.state import state_to_json

    verdict = found.verdicts[-1] if found.verdicts else None
    if as_json:
        print_json({"state": state_to_json(found.state), "verdict": verdict.to_json() if verdict else None})
        return
    print(f"{rollout_id}: {found.state.kind} after {len(found.verdicts)} looks")
    if verdict is None:
        print(f"nobody looked yet\nnext: volano rollout look {rollout_id}{places(store=store, ledger=ledger)}")
        return
    print(f"last verdict: {verdict.kind}: {verdict.reason}")
    names = [name for name in sorted(verdict.numbers) if f"{name}_needed" in verdict.numbers]
    print_table({name: _bar(verdict.numbers[name], verdict.numbers[f"{name}_needed"]) for name in names})
    if found.ended:
        print(f"next: volano rollout replay {rollout_id}{places(ledger=ledger)}")
    else:
        again = f"volano rollout look {rollout_id}{places(store=store, ledger=ledger)}"
        print(f"next: when robots brought more: volano data ingest, then {again}")


def _bar(value: float, needed: float) -> str:
    filled = round(_BAR * min(1.0, max(0.0, value / needed)))
    return f"{'#' * filled}{'.' * (_BAR - filled)}  {value:.2f} of {needed:.2f}"
