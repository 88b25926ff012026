"""`volano rollout`: begin a rollout, look at it, and prove its verdicts."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import Json, Ledger, Store, print_json, print_table, require_ledger
from volano.errors import Code, RolloutError

if TYPE_CHECKING:
    from volano.flywheel.reconcile import Look

app = typer.Typer(no_args_is_help=True, help="Replace a policy with evidence.")
_BAR = 40
Id = Annotated[str, typer.Argument(help="The rollout's id.")]
Shadow = Annotated[
    Path | None,
    typer.Option(
        "--shadow", exists=True, dir_okay=False, help="Shadow journal of the gateway: HOME/serving/shadow.jsonl."
    ),
]


@app.callback()
def rollout() -> None:
    """Replace a policy with evidence."""


@app.command()
def start(document: Path, ledger: Ledger, actor: Annotated[str, typer.Option("--actor")] = "operator") -> None:
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
    print(f"next: volano rollout look {plan.id}")


@app.command()
def look(
    rollout_id: Id,
    ledger: Ledger,
    store: Store,
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

    lines = read_lines(shadow) if shadow else ()
    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        found = reconcile.look(opened, open_store(store), rollout_id, lines, missing_after_s=missing)
    _show(found, rollout_id, as_json)


@app.command()
def status(rollout_id: Id, ledger: Ledger, as_json: Json = False) -> None:
    """Show where a rollout stands and what its evidence says; changes nothing."""
    from volano.flywheel import reconcile
    from volano.ledger.ledger import open_ledger

    require_ledger(ledger)
    with open_ledger(ledger) as opened:
        _show(reconcile.status(opened, rollout_id), rollout_id, as_json)


@app.command()
def replay(rollout_id: Id, ledger: Ledger, as_json: Json = False) -> None:
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
        print("next: volano audit verify")
    if different:
        raise typer.Exit(5)


def _show(found: "Look", rollout_id: str, as_json: bool) -> None:
    from volano.rollout.state import state_to_json

    verdict = found.verdicts[-1] if found.verdicts else None
    if as_json:
        print_json({"state": state_to_json(found.state), "verdict": verdict.to_json() if verdict else None})
        return
    print(f"{rollout_id}: {found.state.kind} after {len(found.verdicts)} looks")
    if verdict is None:
        print(f"nobody looked yet\nnext: volano rollout look {rollout_id}")
        return
    print(f"last verdict: {verdict.kind}: {verdict.reason}")
    names = [name for name in verdict.numbers if f"{name}_needed" in verdict.numbers]
    print_table({name: _bar(verdict.numbers[name], verdict.numbers[f"{name}_needed"]) for name in names})
    print(f"next: volano rollout {'replay' if found.ended else 'look'} {rollout_id}")


def _bar(value: float, needed: float) -> str:
    filled = round(_BAR * min(1.0, max(0.0, value / needed)))
    return f"{'#' * filled}{'.' * (_BAR - filled)}  {value:.2f} of {needed:.2f}"
