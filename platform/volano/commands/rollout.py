"""`volano rollout`: begin a rollout, look at it, and prove its verdicts."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from volano.commands.terminal import (
    LEDGER,
    STORE,
    Json,
    Ledger,
    Store,
    places,
    print_json,
    print_table,
    require_ledger,
    require_store,
)
from volano.errors import Code, RolloutError

if TYPE_CHECKING:
    from volano.flywheel.reconcile import Look
    from volano.ledger.ledger import Ledger as OpenLedger

app = typer.Typer(no_args_is_help=True, help="Replace a policy with evidence.")
_BAR = 40
Actor = Annotated[str, typer.Option("--actor", help="Who decides: it stands in the audit log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why: it stands in the audit log.")]
Id = Annotated[str, typer.Argument(help="The rollout's id.")]
Shadow = Annotated[
    Path | None,
    typer.Option(
        "--shadow", exists=True, dir_okay=False, help="Shadow journal of the gateway; beside the ledger if none."
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
    """Write the document of a rollout, with every default, to be changed and given to `start`."""
    from volano.flywheel.draft import draft
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        plan = draft(opened, rollout_id, candidate, robot or ())
    print(json.dumps(plan.to_json(), indent=1))
    print(f"next: put this into a file, then: volano rollout start FILE{places(ledger=ledger)}", file=sys.stderr)


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
    """End a rollout: every robot runs the policy in place again."""
    _decide(rollout_id, "rollback", reason, ledger, actor)


def _decide(rollout_id: str, decision: Literal["promote", "rollback"], reason: str, ledger: str, actor: str) -> None:
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        reconcile.decide(opened, rollout_id, decision, operator=actor, reason=reason, now=time.time())
        _show_champion(opened, ledger)
    print(f"{'promoted' if decision == 'promote' else 'rolled back'} by {actor}: {rollout_id}")
    print(f"next: volano rollout status {rollout_id}{places(ledger=ledger)}")


@app.command()
def start(document: Path, ledger: Ledger = LEDGER, actor: Actor = "operator") -> None:
    """Begin the rollout that a JSON document describes; beginning it again changes nothing."""
    from volano.data.text import strict_json
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger
    from volano.rollout.plan import Rollout

    try:
        plain = strict_json(document.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RolloutError(Code.ROLLOUT_PLAN, f"{document} is not readable JSON: {error}", "name the file") from error
    plan = Rollout.from_json(plain)
    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        reconcile.start(opened, plan, time.time(), actor)
    print(f"started: {plan.id}, {plan.current[:12]} against {plan.candidate[:12]}")
    print(
        "next: let the robots work and ingest what they bring, then: "
        f"volano rollout look {plan.id}{places(ledger=ledger)}"
    )


@app.command()
def look(
    rollout_id: Id,
    ledger: Ledger = LEDGER,
    store: Store = STORE,
    shadow: Shadow = None,
    missing: Annotated[
        float, typer.Option("--missing-after", help="Seconds until an episode counts as lost.")
    ] = 3600.0,
    as_json: Json = False,
) -> None:
    """Gather what the fleet brought back, judge it, and take the step that it allows."""
    from volano.data.lines import read_lines
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger
    from volano.storage.open import open_store

    require_ledger(ledger)
    require_store(store)
    lines = read_lines(shadow or beside(ledger))
    with open_ledger(ledger) as opened:
        found = reconcile.look(opened, open_store(store), rollout_id, lines, missing_after_s=missing)
        if found.ended:
            _show_champion(opened, ledger)
    _show(found, rollout_id, as_json, store=store, ledger=ledger)


@app.command()
def status(rollout_id: Id, ledger: Ledger = LEDGER, as_json: Json = False) -> None:
    """Show where a rollout stands and what its evidence says; changes nothing."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        _show(reconcile.status(opened, rollout_id), rollout_id, as_json, store=STORE, ledger=ledger)


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


def beside(ledger: str) -> Path:
    """Where a gateway on this machine journals what shadows answered, by the place of its ledger."""
    from volano.inference.running import GatewayFolder

    return GatewayFolder(Path(ledger.removeprefix("sqlite:///")).parent).shadow


def _show_champion(opened: "OpenLedger", ledger: str) -> None:
    """In the MLflow that MLFLOW_TRACKING_URI names, or in the one beside the ledger; if there is none, nothing."""
    from volano.flywheel.champion import show_champion
    from volano.registry.tracking import DATABASE, local_uri

    folder = Path(ledger.removeprefix("sqlite:///")).parent
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
